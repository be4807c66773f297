"""A script's process at the price of a fork: `python tests/fork.py train.py --seed 0` is `python train.py --seed 0`.

Importing torch takes seconds, more than most commands in the tests have to do. A server imports it once, and forks for
every command: `python tests/fork.py` with a listening socket as its stdin. The client, which is what a test or make
runs, sends its words, folder, environment and standard streams to the socket that FORK_SERVER names, and ends as the
script does. The script is run from its file, as __main__.
"""

import json
import os
import socket
import sys


def client():
    with socket.socket(socket.AF_UNIX) as server:
        server.connect(os.environ["FORK_SERVER"])
        socket.send_fds(server, [b" "], [0, 1, 2])
        server.sendall(json.dumps([sys.argv[1:], os.getcwd(), dict(os.environ)]).encode())
        server.shutdown(socket.SHUT_WR)
        status = int(server.recv(16))
    if status < 0:  # of a signal
        os.kill(os.getpid(), -status)
    sys.exit(status)


def serve():
    """Answers clients until the process that started this one has ended."""
    parent, listener = os.getppid(), socket.socket(fileno=0)
    listener.settimeout(1)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while os.getppid() == parent:
        try:
            connection, _ = listener.accept()
        except TimeoutError:
            continue
        if os.fork() == 0:
            try:
                answer(connection)
            finally:
                os._exit(0)
        connection.close()
    shutil.rmtree(os.path.dirname(listener.getsockname()))


def answer(connection):
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    streams = socket.recv_fds(connection, 1, 3)[1]
    with connection.makefile("rb") as file:
        command, folder, environment = json.load(file)
    process = multiprocessing.get_context("fork").Process(target=become, args=(streams, command, folder, environment))
    process.start()
    process.join()
    connection.sendall(str(process.exitcode).encode())


def become(streams, command, folder, environment):
    """The whole life of a process that a shell would start with `command`."""
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    sys.stdin, sys.stdout = open(0, closefd=False), open(1, "w", closefd=False)
    sys.stderr = open(2, "w", buffering=1, errors="backslashreplace", closefd=False)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = command
    sys.path[0] = os.path.dirname(os.path.realpath(command[0]))
    runpy.run_path(command[0], run_name="__main__")


if len(sys.argv) > 1:
    client()
else:
    import multiprocessing
    import runpy
    import shutil
    import signal

    import torch._dynamo  # torch.optim wants it
    import torchvision  # noqa: F401

    serve()
