#!/usr/bin/python3
"""Measures dualdeploy beside its peers on one instance. Called by tests/bench/run, which brings what is needed."""

import argparse
import json
import os
import platform
import signal
import sys
from pathlib import Path

import failover
import flip
import losses
import scale
import start
import throughput
from settings import Settings
from testbed import Testbed, note

SUBJECTS = {"throughput": throughput, "flip": flip, "failover": failover, "losses": losses, "scale": scale, "start": start}


def machine() -> dict:
    models = [line.split(":", 1)[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return {"cores": os.cpu_count(), "cpu": models[0] if models else platform.machine(), "kernel": platform.release()}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="tests/bench/run", description=__doc__)
    parser.add_argument("--json", action="store_true", help="all samples and their medians, as JSON")
    parser.add_argument("--quick", action="store_true", help="few samples: to see that it works")
    parser.add_argument("--only", metavar="SUBJECT,...", default=",".join(SUBJECTS), help="of: %(default)s")
    parser.add_argument("--rounds", type=int, help="in which the variants take turns (5; quick: 1)")
    parser.add_argument("--name", default="bench", help="the instance's (%(default)s)")
    parser.add_argument("--rpms", type=Path, required=True, help="where the agent's RPM is")
    parser.add_argument("--stream-module", type=Path, required=True, help="ngx_stream_module.so of the instance's nginx")
    parsed = parser.parse_args()
    parsed.subjects = parsed.only.split(",")
    if unknown := [name for name in parsed.subjects if name not in SUBJECTS]:
        parser.error(f"no subject: {', '.join(unknown)}; there are {', '.join(SUBJECTS)}")
    return parsed


def main() -> int:
    options = arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # The instance is taken down on every way out.
    make = Settings.quick if options.quick else Settings.thorough
    settings = make(options.rounds or (1 if options.quick else 5), options.stream_module)
    found = {"machine": machine(), "subjects": {}}
    missed = 0
    if not options.json:
        print("{cores} cores, {cpu}, Linux {kernel}\n".format(**found["machine"]), flush=True)
    for subject in options.subjects:
        note(f"{subject}: booting the instance")
        with Testbed(options.name, options.rpms) as bed:
            report = SUBJECTS[subject].run(bed, settings)
        found["subjects"][subject] = report.as_json()
        missed += sum(not target.reached for target in report.targets)
        if not options.json:
            print(report.text(), flush=True)
    if options.json:
        json.dump(found, sys.stdout, indent=1)
        print()
    note(f"figures missed: {missed}")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
