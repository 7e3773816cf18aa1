"""Replays of captures: packets from files through a switch (``replay``), what is counted
(``tally``), and the files that are written (``outputs``).
"""
