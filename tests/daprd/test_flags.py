"""Flags are read as Go's pflag reads daprd's, and refused in its words."""

from pathlib import Path

import pytest

from noded.sidecar.flags import FLAGS
from noded.sidecar.pflag import FlagError, Parsed, parse, usage
from tests.daprd.sidecar_process import ended

PAGE = Path(__file__).parents[2] / "docs" / "daprd.md"


def read(*arguments: str) -> Parsed:
    return parse(arguments, FLAGS)


@pytest.mark.parametrize("given", [("--app-id", "x"), ("-app-id", "x"), ("--app-id=x",), ("-app-id=x",)])
def test_one_dash_or_two_a_space_or_an_equals_sign(given: tuple[str, ...]) -> None:
    """Every way to write a flag that daprd takes means the same."""
    parsed = read(*given)

    assert parsed.text("app-id") == "x"
    assert parsed.changed == ("app-id",)


@pytest.mark.parametrize(
    ("given", "value"),
    [("--enable-mtls", True), ("--enable-mtls=true", True), ("--enable-mtls=0", False), ("--enable-mtls=F", False)],
)
def test_a_bool_takes_its_value_by_an_equals_sign_only(given: str, *, value: bool) -> None:
    """`--flag false` is the flag and a stray word, as in Go."""
    assert read(given).on("enable-mtls") is value
    assert read("--enable-mtls", "false").on("enable-mtls")


def test_lists_gather_commas_and_repetitions() -> None:
    """--config and --resources-path may be repeated, or separated by commas."""
    assert read("--config", "a,b", "--config=c").texts("config") == ("a", "b", "c")
    assert read("--config", '"a,b",c').texts("config") == ("a,b", "c")
    assert read().texts("config") == ()


@pytest.mark.parametrize(
    ("given", "value"), [("7", 7), ("-1", -1), ("0x10", 16), ("010", 8), ("+3", 3), ("1_000", 1000)]
)
def test_whole_numbers_are_gos(given: str, value: int) -> None:
    """Go's integer literals, octal by a leading zero included."""
    assert read("--app-max-concurrency", given).number("app-max-concurrency") == value


@pytest.mark.parametrize(
    ("given", "seconds"), [("1h2m3.5s", 3723.5), ("250ms", 0.25), ("0", 0.0), ("-1s", -1.0), (".5m", 30.0)]
)
def test_durations_are_gos(given: str, seconds: float) -> None:
    """As time.ParseDuration reads them."""
    assert read(f"--dapr-block-shutdown-duration={given}").seconds("dapr-block-shutdown-duration") == seconds


def test_what_is_no_flag_is_passed_over() -> None:
    """Stray words, and everything after --, change nothing."""
    assert read("word", "--app-id", "x", "-", "--", "--nonsense").changed == ("app-id",)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (("--nope",), "unknown flag: --nope"),
        (("-nope",), "unknown flag: --nope"),
        (("-x",), "unknown shorthand flag: 'x' in -x"),
        (("--=3",), "bad flag syntax: --=3"),
        (("--app-id",), "flag needs an argument: --app-id"),
        (("--help",), "pflag: help requested"),
        (("-h",), "pflag: help requested"),
        (
            ("--enable-metrics=maybe",),
            'invalid argument "maybe" for "--enable-metrics" flag: strconv.ParseBool: parsing "maybe": invalid syntax',
        ),
        (
            ("--app-max-concurrency", "x"),
            'invalid argument "x" for "--app-max-concurrency" flag: strconv.ParseInt: parsing "x": invalid syntax',
        ),
        (
            ("--scheduler-job-streams", "-1"),
            'invalid argument "-1" for "--scheduler-job-streams" flag: strconv.ParseUint: parsing "-1": invalid syntax',
        ),
        (
            ("--actors-disseminate-timeout", "5"),
            'invalid argument "5" for "--actors-disseminate-timeout" flag: time: missing unit in duration "5"',
        ),
    ],
)
def test_refusals_are_pflags(given: tuple[str, ...], told: str) -> None:
    """Scripts compare these texts: each as daprd 1.18.0 wrote it."""
    with pytest.raises(FlagError) as refused:
        read(*given)

    assert str(refused.value) == told


def test_defaults_are_daprds() -> None:
    """Without flags: HTTP on 3500, gRPC on 50001, metrics on 9090, no limit of concurrency, five seconds of grace."""
    parsed = read()

    assert (parsed.text("dapr-http-port"), parsed.text("dapr-grpc-port")) == ("3500", "50001")
    assert (parsed.text("metrics-port"), parsed.on("enable-metrics")) == ("9090", True)
    assert parsed.number("app-max-concurrency") == -1
    assert parsed.number("dapr-graceful-shutdown-seconds") == 5
    assert (parsed.text("max-body-size"), parsed.text("app-channel-address")) == ("4Mi", "127.0.0.1")


def test_a_bad_flag_ends_with_code_2_and_the_usage() -> None:
    """The reason stands on standard output and, before the usage, on standard error."""
    done = ended("--nope")

    assert done.returncode == 2
    assert done.stdout == "unknown flag: --nope\n"
    assert done.stderr == "unknown flag: --nope\n" + usage(FLAGS)


def test_version_is_a_version() -> None:
    """--version prints the version alone: Dapr's, and which noded it is."""
    done = ended("--version")

    assert done.returncode == 0
    assert done.stdout.startswith("1.18.0-noded.")
    assert len(done.stdout.splitlines()) == 1


@pytest.mark.parametrize("flag", FLAGS, ids=lambda flag: flag.name)
def test_every_flag_is_documented(flag: object) -> None:
    """docs/daprd.md has each flag, and says which are not served."""
    rows = {line.split("`")[1]: line for line in PAGE.read_text().splitlines() if line.startswith("| `--")}

    assert getattr(flag, "unserved") == rows[f"--{getattr(flag, 'name')}"].endswith("| not yet |")  # noqa: B009
