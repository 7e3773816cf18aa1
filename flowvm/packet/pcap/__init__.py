"""Captures as bytes: pcap and pcapng, read and written.

``read`` finds out what a file is and reads it (``classic``, ``ng``), ``merge`` puts the packets of
several files in one order of time, ``write`` writes pcap.
"""
