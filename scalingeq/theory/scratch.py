"""Room for transient arrays that is kept from one evaluation to the next, by each thread for itself.

Memory that is given back and fetched anew is cleared by the operating system page by page, which takes as long as the
computation.
"""

from __future__ import annotations

import math
import threading

import numpy as np

from scalingeq.theory.spectrum import ComplexArray

#: Elements up to which room is kept.
KEPT = 500_000
_rooms = threading.local()


def scratch(name: str, shape: tuple[int, ...]) -> ComplexArray:
    """Uninitialised array of ``shape``, which lasts until this thread asks for the same ``name`` again."""
    size = math.prod(shape)
    room: ComplexArray | None = getattr(_rooms, name, None)
    if room is None or room.size < size:
        room = np.empty(size, dtype=np.complex128)
        if size <= KEPT:
            setattr(_rooms, name, room)
    return room[:size].reshape(shape)
