"""A strategy that asks what nodes cost: cheapest first, and nobody left out for long."""

from __future__ import annotations

import time
from collections.abc import Iterable

from flwr.app import ArrayRecord, ConfigRecord, Message, MessageType, RecordDict
from flwr.serverapp import Grid
from flwr.serverapp.strategy import FedAvg

from heflwr.flower import MonitoredGrid


class CheapestFirst(FedAvg):
    """FedAvg that trains on the nodes whose calls have cost least so far.

    Nodes that were never measured come first, then those that have not trained for `patience` rounds: their data counts
    too, and what they cost may have changed.
    """

    def __init__(
        self, nodes_per_round: int, by: str = "energy", patience: int = 4, min_available_nodes: int = 2
    ) -> None:
        super().__init__(fraction_evaluate=0.0, min_available_nodes=min_available_nodes)
        self.nodes_per_round = nodes_per_round
        self.by = by
        self.patience = patience
        self._trained: dict[int, int] = {}  # by node: the last round in which it trained

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Choose who trains in this round."""
        assert isinstance(grid, MonitoredGrid), "wrap the grid: MonitoredGrid(grid), or monitored(ServerApp())"
        while len(nodes := list(grid.get_node_ids())) < self.min_available_nodes:
            time.sleep(0.2)
        costs = grid.history.rank(self.by, nodes=nodes)
        if all(cost is None for _, cost in costs):  # nobody can measure that: CPU time is known everywhere
            costs = grid.history.rank("cpu", nodes=nodes)
        waited = [node for node, _ in costs if server_round - self._trained.get(node, 0) > self.patience]
        ranked = waited + [node for node, _ in costs if node not in waited]
        chosen = ranked[: self.nodes_per_round]
        self._trained |= dict.fromkeys(chosen, server_round)
        config["server-round"] = server_round
        content = RecordDict({self.arrayrecord_key: arrays, self.configrecord_key: config})
        return [Message(content, node, MessageType.TRAIN) for node in chosen]
