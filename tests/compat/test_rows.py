"""Every recorded case of daprd 1.18.0, replayed: status, headers, body, gRPC code, message and details agree."""

from contextlib import nullcontext
from typing import cast

import pytest

from tests.compat.agreement import disagreements
from tests.compat.cases import Case, all_cases, conversation, expected
from tests.compat.conftest import Runtimes
from tests.compat.normal import Json
from tests.compat.runtimes import Runtime


@pytest.mark.parametrize("case", all_cases(), ids=lambda case: f"{case.path.stem}: {case.name}")
def test_answers_as_recorded(case: Case, runtimes: Runtimes, request: pytest.FixtureRequest) -> None:
    """An app that was written against daprd finds the same answers here."""
    with runtimes.own(case.setting) if case.ends else nullcontext(runtimes.of(case.setting)) as runtime:
        if case.pending and runtime.name == "noded":
            request.applymarker(pytest.mark.xfail(reason=f"not built yet: {case.pending}", strict=True))
        runtime.forget_received()
        talk = conversation(case.path, runtime)

        wrong = [line for row in case.exchanges for line in compared(row, talk.send(row), runtime)]

        assert not wrong, "\n".join(wrong)


def compared(row: dict[str, object], answer: dict[str, object], runtime: Runtime) -> list[str]:
    asked = f"{row.get('request') or row.get('call') or row.get('send')} {row.get('body', '')}"
    wanted = cast("Json", expected(row, runtime))
    return [f"{asked}\n    {line}" for line in disagreements(wanted, cast("Json", answer))]
