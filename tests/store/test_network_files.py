"""On which network file system a file lies."""

import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing

import pytest

from lbadvisor.errors import StoreError
from lbadvisor.store import Store, network_files, schema, sqlite
from lbadvisor.store.network_files import network_file_system, network_type

# Mounts of a cluster's login node, a workstation, a WSL 2 and a laptop, as /proc/self/mountinfo tells them.
MOUNTS = r"""22 28 0:21 / /proc rw,nosuid,nodev,noexec,relatime shared:13 - proc proc rw
28 1 253:0 / / rw,relatime shared:1 - xfs /dev/mapper/rl-root rw,attr2,inode64
41 28 0:42 / /home rw,nosuid,relatime shared:95 - nfs4 nas.example.org:/export/home rw,vers=4.2,addr=10.0.0.7
47 41 253:3 / /home/anna/scratch rw,relatime shared:99 master:4 - ext4 /dev/mapper/rl-scratch rw
52 28 0:55 / /lustre/work rw,flock shared:120 - lustre 10.1.0.1@o2ib:10.1.0.2@o2ib:/work rw,flock,lazystatfs
53 28 0:56 / /gpfs rw,relatime shared:121 - gpfs gpfs0 rw
54 28 0:57 / /beegfs rw,relatime shared:122 - beegfs beegfs_nodev rw,cfgFile=/etc/beegfs/beegfs-client.conf
60 28 0:60 / /mnt/team\040share rw,relatime - cifs //nas/team rw,vers=3.1.1
61 28 0:61 / /mnt/box rw,nosuid,nodev,relatime shared:31 - fuse.sshfs anna@box:/srv rw,user_id=1000
62 28 0:62 / /mnt/volume rw,relatime - fuse.glusterfs gluster1:/volume rw
63 28 0:63 / /mnt/ceph rw,relatime - ceph 10.0.0.3:6789:/ rw,name=admin
64 28 0:64 / /mnt/c rw,noatime - 9p C:\134 rw,dirsync,aname=drvfs
66 28 8:17 / /media/stick rw,relatime - fuseblk /dev/disk/by-path/pci-0000:00:14.0-usb-0:2:1.0 rw
70 28 0:70 / /mnt/twice rw,relatime - nfs4 nas:/old rw
71 28 8:33 / /mnt/twice rw,relatime - ext4 /dev/sdc1 rw
72 41 0:42 /anna/db /srv/bound rw,relatime shared:95 - nfs4 nas.example.org:/export/home rw,vers=4.2
""".splitlines()


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/srv/runs.db", None),
        ("/home/anna/db/lbadvisor.db", "nfs4"),
        ("/home", "nfs4"),
        ("/homeless/runs.db", None),
        ("/home/anna/scratch/runs.db", None),
        ("/home/anna/scratch2/runs.db", "nfs4"),
        ("/lustre/work/anna/runs.db", "lustre"),
        ("/gpfs/runs.db", "gpfs"),
        ("/beegfs/runs.db", "beegfs"),
        ("/mnt/team share/runs.db", "cifs"),
        ("/mnt/box/runs.db", "fuse.sshfs"),
        ("/mnt/volume/runs.db", "fuse.glusterfs"),
        ("/mnt/ceph/runs.db", "ceph"),
        ("/mnt/c/runs.db", "9p"),
        ("/media/stick/runs.db", None),
        ("/mnt/twice/runs.db", None),
        ("/srv/bound/runs.db", "nfs4"),
    ],
)
def test_the_innermost_and_latest_mount_decides(path, kind):
    assert network_type(path, MOUNTS) == kind


def test_this_machine_tells_it(tmp_path):
    """Of a folder that is there and of a file that is not; tests do not run on a network file system."""
    assert network_file_system(tmp_path) is None
    assert network_file_system(tmp_path / "missing" / "runs.db") is None


@pytest.fixture
def on_nfs(tmp_path, monkeypatch):
    """A file that is not there yet, in a folder that seems to be a mount of NFS."""
    mounts = tmp_path / "mountinfo"
    mounts.write_text(f"28 1 8:1 / / rw - ext4 /dev/sda1 rw\n41 28 0:42 / {tmp_path} rw - nfs4 nas:/home rw\n")
    monkeypatch.setattr(network_files, "MOUNTS", mounts)
    return tmp_path / "runs.db"


def journal_of(path):
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute("PRAGMA journal_mode").fetchone()[0]


def test_a_file_on_a_network_file_system_has_no_log_and_it_is_said_once(on_nfs, caplog):
    with Store.at(on_nfs) as store:
        store.make()
        store.make()
        assert store.runs() == []
        assert journal_of(on_nfs) == "delete"
        assert not {file.name for file in on_nfs.parent.iterdir()} & {"runs.db-wal", "runs.db-shm"}
    (said,) = caplog.messages
    assert said.startswith(
        f"database {on_nfs}: it lies on a network file system (nfs4), where it has no write-ahead log"
    )
    assert "sqlite.org/wal.html" in said
    assert "PostgreSQL" in said


def test_a_file_with_a_log_that_came_to_a_network_file_system_loses_the_log_and_nothing_else(on_nfs):
    """Its last change is in the log alone, as a killed process left it."""
    local = on_nfs.parent / "local.db"
    schema.create(local)
    with closing(sqlite3.connect(local)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("INSERT INTO recipes (hash, name, body) VALUES ('h', 'n', 'b')")
        connection.commit()
        for suffix in ("", "-wal"):
            shutil.copyfile(f"{local}{suffix}", f"{on_nfs}{suffix}")
    with Store.open(on_nfs, create=False):
        assert {file.name for file in on_nfs.parent.glob("runs.db*")} == {"runs.db"}
    with closing(sqlite3.connect(on_nfs)) as connection:
        assert connection.execute("SELECT hash FROM recipes").fetchall() == [("h",)]
    assert journal_of(on_nfs) == "delete"


def test_a_file_with_a_log_is_not_taken_from_a_process_that_uses_it_over_the_network(on_nfs):
    schema.create(on_nfs)
    with closing(sqlite3.connect(on_nfs)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("SELECT * FROM recipes").fetchall()
        engine = sqlite.open_engine(on_nfs, lock_timeout_seconds=0.1)
        with pytest.raises(StoreError, match="locked by another process"), sqlite.explained(on_nfs):
            engine.connect()
    assert journal_of(on_nfs) == "wal"


@pytest.mark.parametrize("is_remote", [False, True])
def test_to_connect_again_leaves_a_process_its_locks(request, tmp_path, is_remote):
    """A process that closes a file loses all of its locks on it, if SQLite does not see to that."""
    path = request.getfixturevalue("on_nfs") if is_remote else tmp_path / "runs.db"
    schema.create(path)
    with closing(sqlite.connect_file(path)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        sqlite.connect_file(path).close()
        Store.open(path, create=False).close()
        program = "import sqlite3, sys; sqlite3.connect(sys.argv[1], timeout=0.1).execute('BEGIN IMMEDIATE')"
        done = subprocess.run([sys.executable, "-c", program, path], capture_output=True, text=True)
        assert "database is locked" in done.stderr
