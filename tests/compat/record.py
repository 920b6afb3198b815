"""Fill in the rows' answers from a running daprd: `python -m tests.compat.record --daprd PATH [FILE ...]`.

A row's request is written by hand, its answer never. After recording, the diff says what changed between versions.
"""

import argparse
from pathlib import Path

import yaml

from tests.compat.cases import ANSWERS, ROWS, conversation, setting_of
from tests.compat.runtimes import PLAIN, Runtime, running_daprd, running_with


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--daprd", type=Path, required=True)
    parser.add_argument("files", nargs="*", type=Path, default=sorted(ROWS.glob("*.yaml")))
    arguments = parser.parse_args()
    for path in arguments.files:
        setting = setting_of(yaml.safe_load(path.read_text()))
        plain = setting == PLAIN
        with running_daprd(arguments.daprd) if plain else running_with((str(arguments.daprd),), setting) as runtime:
            record(path, runtime)


def record(path: Path, runtime: Runtime) -> None:
    document = yaml.safe_load(path.read_text())
    for case in document["cases"]:
        runtime.forget_received()
        talk = conversation(path, runtime)
        case["exchanges"] = [recorded(row, talk.send(row)) for row in case["exchanges"]]
    path.write_text(yaml.dump(document, sort_keys=False, width=1000, allow_unicode=True))


def recorded(row: dict[str, object], answer: dict[str, object]) -> dict[str, object]:
    asked = {name: value for name, value in row.items() if name not in ANSWERS}
    return {**asked, **answer}


if __name__ == "__main__":
    main()
