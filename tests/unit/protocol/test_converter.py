"""Models to the API's JSON objects and back."""

from __future__ import annotations

import json

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from truebit_async._protocol.converter import make_converter
from truebit_async.models import ClearTextSolution, Execution, ExecutionStatus, Signature, VerificationStatus

text = st.none() | st.text()
signatures = st.builds(Signature, v=st.integers(-(2**63), 2**63 - 1), r=st.text(), s=st.text())
solutions = st.builds(
    ClearTextSolution, text, st.none() | st.sampled_from(ExecutionStatus), text, st.none() | signatures
)
executions = st.builds(
    Execution,
    execution_id=st.text(),
    verification_status=st.sampled_from(VerificationStatus),
    clear_text_solution=st.none() | solutions,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(signatures | solutions | executions)
def test_models_survive_the_round_trip(model: Signature | ClearTextSolution | Execution) -> None:
    raw = make_converter().unstructure(model)
    assert make_converter().structure(json.loads(json.dumps(raw)), type(model)) == model


def test_the_api_spelling_comes_out() -> None:
    execution = Execution(
        "id",
        VerificationStatus.SUCCESS,
        ClearTextSolution("42", ExecutionStatus.SUCCEED, "0xabc", Signature(28, "aa", "bb")),
    )
    assert make_converter().unstructure(execution) == {
        "executionId": "id",
        "verificationStatus": "Success",
        "clearTextSolution": {
            "output": "42",
            "executionStatus": "succeed",
            "senderAddress": "0xabc",
            "signature": {"v": 28, "r": "aa", "s": "bb"},
        },
    }
    assert make_converter().unstructure(Execution("id", VerificationStatus.RUNNING)) == {
        "executionId": "id",
        "verificationStatus": "Running",
    }
