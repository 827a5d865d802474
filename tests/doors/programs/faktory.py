"""A Faktory client under TLS (tcp+tls://), of the standard library alone: pushes a job, fetches it, acknowledges it.

Called with the port and the file of the authority to trust.
"""

import json
import socket
import ssl
import sys

port, ca = int(sys.argv[1]), sys.argv[2]


def connect():
    context = ssl.create_default_context(cafile=ca)
    raw = socket.create_connection(("localhost", port), timeout=20)
    wire = context.wrap_socket(raw, server_hostname="localhost").makefile("rwb")
    assert wire.readline().startswith(b"+HI "), "no greeting"
    return wire


def ask(wire, line):
    wire.write(line.encode() + b"\r\n")
    wire.flush()
    answer = wire.readline().rstrip(b"\r\n")
    if answer.startswith(b"$"):
        length = int(answer[1:])
        body = wire.read(length + 2)[:length]
        return body.decode()
    return answer.decode()


wire = connect()
assert ask(wire, 'HELLO {"v":2,"wid":"tls-worker-1"}') == "+OK"
large = "x" * 300_000
job = {"jid": "tls-job-0001", "jobtype": "shout", "args": [large], "queue": "default"}
assert ask(wire, "PUSH " + json.dumps(job)) == "+OK"
fetched = json.loads(ask(wire, "FETCH default"))
assert fetched["jid"] == "tls-job-0001" and fetched["args"] == [large]
# A client that leaves without the farewell of TLS has read its answer: the job stays with the worker.
other = connect()
assert ask(other, 'HELLO {"v":2,"wid":"tls-worker-2"}') == "+OK"
other.close()
assert ask(wire, 'ACK {"jid":"tls-job-0001"}') == "+OK"
print("ends well")
