import sys

try:
    import fcntl  # noqa: F401
except ImportError:
    print("error: this runs on Linux, macOS and Windows' WSL (Windows itself has no fcntl)", file=sys.stderr)
    sys.exit(2)
