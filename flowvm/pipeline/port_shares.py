"""How many MAC addresses each port has, and which port has the most.

Open vSwitch keeps that in a binary heap (lib/heap.c), and of ports with equally many takes the one
on top: which one that is depends on all that happened before, so the heap is kept here likewise.
"""

from __future__ import annotations


class PortShares:
    """Counts by port, in a heap with the largest on top."""

    def __init__(self) -> None:
        self._heap: list[int] = []
        self._place: dict[int, int] = {}
        self._count: dict[int, int] = {}

    def copy(self) -> PortShares:
        twin = PortShares()
        twin._heap = self._heap.copy()
        twin._place = self._place.copy()
        twin._count = self._count.copy()
        return twin

    @property
    def largest(self) -> int:
        """The port on top of the heap."""
        return self._heap[0]

    def add(self, port: int) -> None:
        """Let ``port`` have one more."""
        if port in self._count:
            self._count[port] += 1
            self._settle(self._place[port])
        else:
            self._count[port] = 1
            self._heap.append(port)
            self._place[port] = len(self._heap) - 1
            self._rise(len(self._heap) - 1)

    def take(self, port: int) -> None:
        """Let ``port`` have one less."""
        self._count[port] -= 1
        if self._count[port]:
            self._settle(self._place[port])
            return
        del self._count[port]
        place = self._place.pop(port)
        last = self._heap.pop()
        if place < len(self._heap):
            self._put(last, place)
            self._settle(place)

    def _at(self, place: int) -> int:
        return self._count[self._heap[place]]

    def _put(self, port: int, place: int) -> None:
        self._heap[place] = port
        self._place[port] = place

    def _swap(self, one: int, other: int) -> None:
        first, second = self._heap[one], self._heap[other]
        self._put(second, one)
        self._put(first, other)

    def _settle(self, place: int) -> None:
        if not self._rise(place):
            self._sink(place)

    def _rise(self, place: int) -> bool:
        moved = False
        while place:
            parent = (place - 1) // 2
            if self._at(parent) >= self._at(place):
                break
            self._swap(parent, place)
            place, moved = parent, True
        return moved

    def _sink(self, place: int) -> None:
        while True:
            largest = place
            for child in (2 * place + 1, 2 * place + 2):
                if child < len(self._heap) and self._at(child) > self._at(largest):
                    largest = child
            if largest == place:
                return
            self._swap(largest, place)
            place = largest
