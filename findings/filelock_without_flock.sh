#!/usr/bin/env bash
# filelock 4.0.12 (also 3.25.2, 3.32.7): on a file system whose flock fails with ENOSYS, FileLock says "flock not
# supported on this filesystem, falling back to SoftFileLock", and then lets two processes in at once. 4.1.0
# keeps the second out. ENOLCK and EOPNOTSUPP, which Lustre and NFS mounts give for the same lack, bring no
# fall-back in either: they come out of acquire() as a bare OSError. In 3.20.0 they counted as "held by
# somebody else": Timeout, or a wait without end.
#
# Seen:
#   filelock 4.0.12, ENOSYS: first acquired, second acquired
#   filelock 4.0.12, ENOLCK: first OSError, second OSError
#   filelock 4.1.0, ENOSYS: first acquired, second Timeout
#   filelock 4.1.0, ENOLCK: first OSError, second OSError
#
# The file system is played by the standard library's flock raising what the system call would. Handled in
# src/rsdecode/results/file_lock.py, and by the lower bound of filelock in pyproject.toml.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"

cat > hold.py <<'PYTHON'
import errno, fcntl, os, sys, time, warnings

warnings.simplefilter("ignore")
number = getattr(errno, sys.argv[1])

def flock(file, operation):
    raise OSError(number, os.strerror(number))

fcntl.flock = flock
import filelock

lock = filelock.FileLock("lock")
try:
    lock.acquire(timeout=0.5)
    print("acquired", flush=True)
except Exception as error:
    print(type(error).__name__, flush=True)
sys.stdin.read()  # hold it until we are told to go
PYTHON

for version in 4.0.12 4.1.0; do
    python3 -m venv "venv-$version"
    "venv-$version/bin/pip" install --quiet --disable-pip-version-check "filelock==$version"
    for error in ENOSYS ENOLCK; do
        rm -f lock*
        mkfifo go
        "venv-$version/bin/python" hold.py "$error" < go > first.txt &
        exec 3> go
        until [ -s first.txt ]; do sleep 0.05; done
        "venv-$version/bin/python" hold.py "$error" < /dev/null > second.txt
        exec 3>&-
        wait
        rm go
        echo "filelock $version, $error: first $(cat first.txt), second $(cat second.txt)"
    done
done | tee seen.txt

diff seen.txt - <<'SEEN'
filelock 4.0.12, ENOSYS: first acquired, second acquired
filelock 4.0.12, ENOLCK: first OSError, second OSError
filelock 4.1.0, ENOSYS: first acquired, second Timeout
filelock 4.1.0, ENOLCK: first OSError, second OSError
SEEN
