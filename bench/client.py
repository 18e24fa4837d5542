"""The Python side of `make bench`: it executes each command that it reads, and prints how long that took.

Arguments: a reference, and the domain and channel on which a daemon serves it. The environment has the settings of the
proxy in this process.
"""

import os
import sys
import time

from propeller_proxy import Proplet, Proxy

reference, domain, channel = sys.argv[1:]
with Proxy.from_env() as proxy, Proplet(os.environ["PROXY_MQTT_ADDRESS"], domain, channel) as proplet:
    commands = {"deliver": lambda: proxy.deliver(reference), "request": lambda: proplet.request(reference)}
    for command in sys.stdin:
        begin = time.perf_counter()
        commands[command.strip()]()
        print(time.perf_counter() - begin, flush=True)
