"""``cmw-agent prove``: tries the isolation of this code and writes a signed certificate."""

import argparse
import asyncio
import sys
from datetime import UTC, datetime
from pathlib import Path

from cmw_agent import __version__
from cmw_agent.config.settings import Settings, load_settings
from cmw_agent.config.settings_digest import settings_digest
from cmw_agent.core.certificates import Certificate, Checks
from cmw_agent.core.code_digests import code_digest, packages_digest
from cmw_agent.identity.secret_key import load_keys
from cmw_agent.proof import trials
from cmw_agent.proof.storm.visitors import Plan


def prove(chosen: argparse.Namespace, env_file: Path | None) -> tuple[int, str]:
    """Make a certificate; return the exit code and what to write.

    Returns:
        0 where all holds, 1 where something does not: the certificate says what.

    Raises:
        StartupError: The tests are not here, or something could not be run.
    """
    settings = load_settings(env_file)
    certificate = asyncio.run(_prove(settings, chosen, env_file))
    chosen.out.write_bytes(certificate.json_bytes())
    lines = [
        f"invariants: {_share_text(certificate.invariants)} tests of isolation passed",
        f"storm: {certificate.storm.outcome}, {certificate.storm.bytes_read:,} bytes read",
        f"controls: {_share_text(certificate.storm.controls)} told apart",
        f"mutants: {_share_text(certificate.mutants)} found, of {certificate.mutants_of} that there are",
        f"{'holds' if certificate.holds else 'DOES NOT HOLD'}: {chosen.out}",
    ]
    return 0 if certificate.holds else 1, "\n".join(lines)


async def _prove(
    settings: Settings, chosen: argparse.Namespace, env_file: Path | None
) -> Certificate:
    def progress(text: str) -> None:
        sys.stderr.write(f"{text}\n")

    folder = trials.checkout()
    secret = settings.secret_key.get_secret_value() if settings.secret_key else None
    keys = load_keys(secret, settings.data_dir)
    code = code_digest()
    storm = await trials.storm(folder, Plan(chosen.users, 3, chosen.seed), progress, env_file)
    invariants = await trials.invariants(folder, progress)
    mutants, number = await trials.mutants(folder, chosen.mutants, chosen.seed, progress)
    return Certificate(
        version=__version__,
        made_at=datetime.now(UTC),
        code=code,
        packages=packages_digest(),
        settings=settings_digest(settings),
        invariants=invariants,
        storm=storm,
        mutants=mutants,
        mutants_of=number,
    ).signed(keys[0])


def _share_text(checks: Checks) -> str:
    return f"{checks.held} of {checks.made}"
