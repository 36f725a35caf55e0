"""For the operator of a fleet: keys of devices, signed commands, checks of heartbeats.

The devices are engines with ``heartbeat=`` and ``remote_commands=``. What is here is used where
commands are issued and heartbeats are received: in the server, or in a tool of the operator's.
"""

from bytelyst_sync.fleet.commands import FleetCommands, IssuedCommand
from bytelyst_sync.fleet.devices import check_heartbeat, device_id
from bytelyst_sync.fleet.issuing import sign_command
from bytelyst_sync.rules.device_keys import device_id_of, device_key

__all__ = [
    "FleetCommands",
    "IssuedCommand",
    "check_heartbeat",
    "device_id",
    "device_id_of",
    "device_key",
    "sign_command",
]
