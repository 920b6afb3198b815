"""The `noded` command."""

import argparse
import logging
import sys
from dataclasses import replace
from pathlib import Path


def main(arguments: list[str] | None = None) -> int:
    """Run one command and return its exit code."""
    parser = argparse.ArgumentParser(prog="noded", description="One multi-tenant Dapr runtime per node.")
    commands = parser.add_subparsers(dest="command", required=True)
    serve = commands.add_parser("serve", help="run the daemon")
    serve.add_argument("--resources-path", type=Path, action="append", default=[])
    serve.add_argument("--config", type=Path, action="append", default=[])
    serve.add_argument("--run-dir", type=Path)
    serve.add_argument("--state-dir", type=Path)
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    return _serve(options)


def _serve(options: argparse.Namespace) -> int:
    from noded.config.settings import default_settings
    from noded.daemon import Daemon
    from noded.host import Host, run

    settings = default_settings()
    settings = replace(
        settings,
        resources_paths=tuple(options.resources_path),
        run_dir=options.run_dir or settings.run_dir,
        state_dir=options.state_dir or settings.state_dir,
    )

    async def go(host: Host) -> None:
        await Daemon(settings, host).serve()

    try:
        run(go)
    except RuntimeError as error:
        print(f"noded: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
