"""Fill in the rows' answers from a running daprd: `python -m tests.compat.record --daprd PATH [FILE ...]`.

A row's request is written by hand, its answer never. After recording, the diff says what changed between versions.
"""

import argparse
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import yaml

from tests.compat.cases import ANSWERS, ROWS, conversation, setting_of
from tests.compat.runtimes import PLAIN, Runtime, running_daprd, running_with


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--daprd", type=Path, required=True)
    parser.add_argument("files", nargs="*", type=Path, default=sorted(ROWS.glob("*.yaml")))
    arguments = parser.parse_args()
    for path in arguments.files:
        record(path, arguments.daprd)


def record(path: Path, daprd: Path) -> None:
    document = yaml.safe_load(path.read_text())
    setting = setting_of(document)
    with ExitStack() as stack:
        shared = None
        for case in document["cases"]:
            if any("ends" in row for row in case["exchanges"]):
                with running_with((str(daprd),), setting) as runtime:
                    record_case(path, case, runtime)
                continue
            if shared is None:
                plain = setting == PLAIN
                shared = stack.enter_context(running_daprd(daprd) if plain else running_with((str(daprd),), setting))
            record_case(path, case, shared)
    path.write_text(yaml.dump(document, sort_keys=False, width=1000, allow_unicode=True))


def record_case(path: Path, case: dict[str, Any], runtime: Runtime) -> None:
    runtime.forget_received()
    talk = conversation(path, runtime)
    case["exchanges"] = [recorded(row, talk.send(row)) for row in case["exchanges"]]


def recorded(row: dict[str, object], answer: dict[str, object]) -> dict[str, object]:
    asked = {name: value for name, value in row.items() if name not in ANSWERS}
    return {**asked, **answer}


if __name__ == "__main__":
    main()
