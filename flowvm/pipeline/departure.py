"""The way out by a port of the bridge (``check_output_prerequisites`` in Open vSwitch)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from flowvm.columns import Column

if TYPE_CHECKING:
    from flowvm.actions.base import Packets
    from flowvm.pipeline.engine import Run


def may_leave(run: Run, packets: Packets, ports: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which of ``packets`` leave by their port if they are output to it.

    Not if nothing is to be sent to it, nor from a protected port to another.
    """
    forwards = _forward(run, ports)
    protected = _are_between_protected(run, packets, ports) & forwards
    if run.recorder and not forwards.all():
        run.recorder.detail("OFPPC_NO_FWD set, skipping output")
    if run.recorder and protected.any():
        run.recorder.warning("Flow is between protected ports, skipping output.")
    return np.asarray(forwards & ~protected, bool)


def _forward(run: Run, ports: NDArray[np.int64]) -> NDArray[np.bool_]:
    closed = run.state.program.names.config.no_fwd
    return ~np.isin(ports, list(closed)) if closed else np.ones(len(ports), bool)


def _are_between_protected(
    run: Run, packets: Packets, ports: NDArray[np.int64]
) -> NDArray[np.bool_]:
    program = run.state.program
    if program.bridge is None or not program.bundles.protected.any():
        return np.zeros(len(packets), bool)
    bundles = program.bundles
    sources = bundles.places_of(run.columns[Column.IN_PORT][packets].astype(np.int64))
    found: NDArray[np.bool_] = (
        bundles.protected[sources] & bundles.protected[bundles.places_of(ports)]
    )
    return found
