"""The server's side of a ``Dialect``: ``SyncServer`` and ``FakeServer`` with ``dialect=``.

``routes`` finds the operation of a request, ``shapes`` reads and writes bodies, ``listing`` answers
pulls, ``batches`` splits batches, and ``store`` combines them.
"""
