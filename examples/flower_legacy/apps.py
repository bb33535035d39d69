"""The app as it was written for Flower's first API: breast-cancer diagnosis by logistic regression. Knows no heflwr."""

from __future__ import annotations

import numpy as np
from flwr.app import Context
from flwr.client import NumPyClient
from flwr.clientapp import ClientApp
from flwr.server import ServerAppComponents, ServerConfig
from flwr.server.strategy import FedAvg
from flwr.serverapp import ServerApp
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler


class Clinic(NumPyClient):
    """A clinic with its own patients: four out of five to learn from, the fifth to judge by."""

    def __init__(self, clinic: int, clinics: int) -> None:
        features, labels = load_breast_cancer(return_X_y=True)
        features = StandardScaler().fit_transform(features)
        own = np.random.default_rng(0).permutation(len(labels))[clinic::clinics]
        self.train, self.test = own[len(own) // 5 :], own[: len(own) // 5]
        self.features, self.labels = features, labels
        self.model = LogisticRegression(max_iter=200, warm_start=True)
        self.model.classes_ = np.array([0, 1])

    def fit(self, parameters, config):
        """Train from the common model on."""
        self.model.coef_, self.model.intercept_ = (part.copy() for part in parameters)
        for _ in range(100):
            self.model.fit(self.features[self.train], self.labels[self.train])
        return [self.model.coef_, self.model.intercept_], len(self.train), {}

    def evaluate(self, parameters, config):
        """Judge the common model."""
        self.model.coef_, self.model.intercept_ = parameters
        accuracy = self.model.score(self.features[self.test], self.labels[self.test])
        return 1.0 - accuracy, len(self.test), {"accuracy": float(accuracy)}


def client_fn(context: Context):
    """Return the client of this node."""
    clinic, clinics = int(context.node_config["partition-id"]), int(context.node_config["num-partitions"])
    return Clinic(clinic, clinics).to_client()


def make_server(rounds: int, clients: int) -> ServerApp:
    """Return the server app."""

    def server_fn(context: Context) -> ServerAppComponents:
        from flwr.common import ndarrays_to_parameters

        strategy = FedAvg(
            min_fit_clients=clients,
            min_evaluate_clients=clients,
            min_available_clients=clients,
            initial_parameters=ndarrays_to_parameters([np.zeros((1, 30)), np.zeros(1)]),
        )
        return ServerAppComponents(strategy=strategy, config=ServerConfig(num_rounds=rounds))

    return ServerApp(server_fn=server_fn)


client_app = ClientApp(client_fn=client_fn)
