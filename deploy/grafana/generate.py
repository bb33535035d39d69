"""Write the dashboards: `python deploy/grafana/generate.py`. Needs heflwr[dev]; a test compares them with the files."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from grafana_foundation_sdk.cog.encoder import JSONEncoder
from heflwr_dashboards.automon import automon
from heflwr_dashboards.client import client
from heflwr_dashboards.fleet import fleet
from heflwr_dashboards.rounds import rounds

DASHBOARDS = (fleet, client, rounds, automon)


def main() -> None:
    """Write a file a dashboard."""
    parser = argparse.ArgumentParser(description=__doc__)
    here = Path(__file__).parent / "dashboards"
    parser.add_argument("--out", type=Path, default=here, help="folder that the files go to; default %(default)s")
    out: Path = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    for make in DASHBOARDS:
        dashboard = make()
        text = json.dumps(dashboard, cls=JSONEncoder, indent=2, sort_keys=True, ensure_ascii=False)
        (out / f"{dashboard.uid}.json").write_text(f"{text}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
