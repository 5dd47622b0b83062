"""moto as a server on a free port, which it tells on standard output. It ends when its standard input does."""

import json
import sys

from moto.server import ThreadedMotoServer

server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
server.start()
print(json.dumps({"event": "listening", "port": server.get_host_and_port()[1]}), flush=True)
sys.stdin.read()
