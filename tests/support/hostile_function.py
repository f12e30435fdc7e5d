"""A function with many ways to misbehave, each chosen by its event; the text of its module is `CODE`."""

CODE = '''
import ctypes, errno, mmap, os, resource, signal, socket, subprocess, sys, threading, time

libc = ctypes.CDLL(None, use_errno=True)
kept = []

def called(name, *arguments):
    """0, or the name of the error."""
    result = getattr(libc, name)(*arguments)
    return 0 if result >= 0 else errno.errorcode[ctypes.get_errno()]

def tried(function, *arguments):
    try:
        function(*arguments)
        return "done"
    except OSError as exc:
        return errno.errorcode[exc.errno]

def fork_all(most):
    children = 0
    try:
        while children < most:
            if os.fork() == 0:
                time.sleep(60)
                os._exit(0)
            children += 1
    except OSError as exc:
        return [children, errno.errorcode[exc.errno]]
    return [children, ""]

def bomb(most):
    """Every process forks, until there are as many as there may be."""
    end = time.time() + 20
    while time.time() < end:
        try:
            os.fork()
        except OSError:
            time.sleep(0.01)

def daemonise(ignores=False):
    """A process that has left its parent and its session. Returns: its id."""
    reader, writer = os.pipe()
    if os.fork() == 0:
        os.setsid()
        if ignores:
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
                signal.signal(number, signal.SIG_IGN)
        daemon = os.fork()
        if daemon == 0:
            time.sleep(60)
        else:
            # Said before it is an orphan, which may be ended at once.
            os.write(writer, str(daemon).encode())
        os._exit(0)
    os.wait()
    return int(os.read(reader, 20))

def hand_on():
    if os.fork() == 0:
        os.setsid()
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        end = time.time() + 60
        while time.time() < end:
            if libc.fork():
                libc._exit(0)
        os._exit(0)

def read(path):
    return (os.listdir if os.path.isdir(path) else lambda p: open(p, "rb").read(64))(path)

def hoard(mib):
    """Takes memory as fast as it goes."""
    kept.append(bytearray())
    for _ in range(mib):
        kept.append(mmap.mmap(-1, 1 << 20))
        kept[-1].write(b"x" * (1 << 20))
    time.sleep(2)
    return mib

def at_once(mib):
    try:
        kept.append(bytearray(b"x") * (mib << 20))
    except MemoryError:
        return "MemoryError"
    time.sleep(2)
    return mib

def children_hoard(mib, count):
    for _ in range(count):
        if os.fork() == 0:
            hoard(mib // count)
            os._exit(0)
    time.sleep(3)
    return mib

def tree(levels):
    os.chdir(os.environ["TMPDIR"])
    for number in range(levels):
        os.mkdir("d")
        os.chmod("d", 0o700)
        os.chdir("d")
    os.chmod(os.path.join(os.environ["TMPDIR"], "d"), 0)
    os.symlink("/", os.path.join(os.environ["TMPDIR"], "root"))

def litter(files):
    """What is tedious to remove, wherever it may be written."""
    for folder in ("/tmp", "/dev/shm"):
        os.makedirs(f"{folder}/.hidden/below")
        for number in range(files):
            open(f"{folder}/{'.hidden' if number % 2 else ''}/{number}", "w").close()
        os.chmod(f"{folder}/.hidden", 0)

def connect(path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as client:
        client.connect(path)

def status():
    lines = (line.partition(":") for line in open("/proc/self/status"))
    return {name: value.strip() for name, _, value in lines}

def handler(event, context):
    what, given = event["do"], event.get("with")
    return {
        "echo": lambda: given,
        "pid": os.getpid,
        "read": lambda: {path: tried(read, path) for path in given},
        "write": lambda: {path: tried(lambda p: open(p, "wb").close(), path) for path in given},
        "make": lambda: {path: tried(lambda p: os.close(os.open(p, os.O_CREAT | os.O_EXCL | os.O_WRONLY)), path)
                         for path in given},
        "status": status,
        "fds": lambda: sorted(int(fd) for fd in os.listdir("/proc/self/fd")),
        "stdin": lambda: os.readlink("/proc/self/fd/0"),
        "processes": lambda: sorted(int(name) for name in os.listdir("/proc") if name.isdigit()),
        "kill": lambda: {str(pid): tried(os.kill, pid, event.get("signal", 15)) for pid in given},
        "ptrace": lambda: {str(pid): called("ptrace", 16, pid, None, None) for pid in given},
        "connect": lambda: {path: tried(connect, path) for path in given},
        "environ": lambda: dict(os.environ),
        "session": lambda: [os.getsid(0), os.getpid(), os.getppid()],
        "limits": lambda: {name: resource.getrlimit(getattr(resource, name))[1] for name in given},
        "cwd": os.getcwd,
        "umask": lambda: os.umask(0o22),
        "oom": lambda: open("/proc/self/oom_score_adj").read().strip(),
        "print": lambda: (print("to stdout"), print("to stderr", file=sys.stderr),
                          subprocess.run(["/bin/sh", "-c", "echo from a child"]))[0],
        "fork all": lambda: fork_all(given), "bomb": lambda: bomb(given),
        "daemonise": daemonise, "daemonise stubborn": lambda: daemonise(True), "hand on": hand_on,
        "hoard": lambda: hoard(given), "at once": lambda: at_once(given),
        "children hoard": lambda: children_hoard(*given),
        "hoard later": lambda: threading.Timer(0.3, hoard, [given]).start(),
        "take": lambda: kept.append(bytearray(b"x") * (given << 20)),
        "shared": lambda: kept.append(bytearray(given << 20)),
        "fill shm": lambda: open("/dev/shm/left", "wb").write(b"x" * (given << 20)),
        "listing": lambda: os.listdir(given), "listings": lambda: {path: os.listdir(path) for path in given},
        "run": lambda: subprocess.run(given, capture_output=True, text=True).stdout,
        "tree": lambda: tree(given), "litter": lambda: litter(given),
        "sleep": lambda: time.sleep(given),
        "exit": lambda: os._exit(given),
        "die": lambda: os.kill(os.getpid(), given),
        "spin": lambda: [None for _ in iter(lambda: time.process_time() < given, False)] and None,
    }[what]()
'''
