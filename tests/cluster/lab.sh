#!/usr/bin/env bash
# A Slurm cluster of one node on this machine, for tests: accounting, two partitions, two fake GPUs.
#
#   tests/cluster/lab.sh check    say why this machine cannot have one (status 1), or nothing
#   tests/cluster/lab.sh start    install the Debian packages that are missing, start everything
#   tests/cluster/lab.sh stop     cancel its jobs, stop its daemons, take its configuration away
#   tests/cluster/lab.sh status   what is up
#
# Needs root on Debian. Everything it makes is in LAB_HOME (/var/lib/routelmt-lab), but for links
# in /etc/slurm that `stop` removes; packages stay installed. No service is enabled, no systemd
# needed. A machine where Slurm is configured or running already is left alone.
#   LAB_CPUS    CPUs the node pretends to have; more jobs than real cores run at once (default 4)
set -euo pipefail

LAB_HOME=${LAB_HOME:-/var/lib/routelmt-lab}
LAB_CPUS=${LAB_CPUS:-4}
PACKAGES="munge slurmctld slurmd slurmdbd slurm-client slurm-wlm-basic-plugins
    slurm-wlm-mysql-plugin mariadb-server-core mariadb-client-core"
CONFIGS="slurm.conf slurmdbd.conf gres.conf cgroup.conf"
DAEMONS="slurmd slurmctld slurmdbd mariadbd munged" # in the order in which they are stopped
RUN=$LAB_HOME/run LOGS=$LAB_HOME/log
MUNGE_SOCKET=$RUN/munge.socket SQL_SOCKET=$RUN/mariadb.socket
NODE=$(hostname -s)

fail() {
    echo "tests/cluster/lab.sh: $*" >&2
    exit 1
}

# --- what is there ------------------------------------------------------------------------------

pid_of() { # NAME: the lab's own daemon of that name, if it lives
    local pid
    pid=$(cat "$RUN/$1.pid" 2>/dev/null) || return 1
    [ -n "$pid" ] && [ "$(cat "/proc/$pid/comm" 2>/dev/null)" = "$1" ] && echo "$pid"
}

is_ours() { # FILE of /etc/slurm: a link into LAB_HOME
    [ -L "$1" ] && [[ $(readlink "$1") == "$LAB_HOME"/* ]]
}

foreign() { # what of a Slurm that is not the lab's is on this machine
    local name pid
    for name in $CONFIGS; do
        if [ -e "/etc/slurm/$name" ] && ! is_ours "/etc/slurm/$name"; then
            echo "/etc/slurm/$name is there"
        fi
    done
    for name in slurmd slurmctld slurmdbd; do
        for pid in $(pgrep -x "$name" || true); do
            [ "$pid" = "$(pid_of "$name")" ] || echo "$name runs as process $pid"
        done
    done
}

check() {
    local found
    [ "$(id -u)" = 0 ] || fail "needs root, this is $(id -un)"
    command -v apt-get >/dev/null && [ -r /etc/debian_version ] || fail "needs Debian's packages"
    found=$(foreign)
    [ -z "$found" ] || fail "this machine has a Slurm of its own, which tests must not touch:" "$found"
}

# --- starting and stopping ----------------------------------------------------------------------

wait_for() { # SECONDS COMMAND...
    local end=$((SECONDS + $1))
    shift
    until "$@" &>/dev/null; do
        [ "$SECONDS" -lt "$end" ] || fail "not in time: $* (see $LOGS)"
        sleep 0.1
    done
}

install_packages() {
    local missing policy=/usr/sbin/policy-rc.d
    missing=$(for p in $PACKAGES; do dpkg -s "$p" &>/dev/null || echo "$p"; done)
    [ -n "$missing" ] || return 0
    echo "installing" $missing
    if [ ! -e $policy ]; then # keeps the packages from starting services
        printf '#!/bin/sh\nexit 101\n' >$policy
        chmod +x $policy
        trap 'rm -f /usr/sbin/policy-rc.d' EXIT
    fi
    mkdir -p "$LOGS"
    export DEBIAN_FRONTEND=noninteractive
    { apt-get update -qq && apt-get install -y -qq --no-install-recommends $missing; } \
        &>"$LOGS/apt.log" || fail "apt-get failed: $(tail -n 3 "$LOGS/apt.log")"
}

write_configs() {
    local memory
    memory=$(awk '/MemTotal/ {print int($2 / 1024 * 0.9)}' /proc/meminfo)
    cat >"$LAB_HOME/slurm.conf" <<END
ClusterName=lab
SlurmctldHost=$NODE(127.0.0.1)
SlurmUser=root
SlurmdUser=root
SlurmctldPort=26817
SlurmdPort=26818
AuthType=auth/munge
CryptoType=crypto/munge
AuthInfo=socket=$MUNGE_SOCKET
CommunicationParameters=NoInAddrAny
StateSaveLocation=$LAB_HOME/controller
SlurmdSpoolDir=$LAB_HOME/node
SlurmctldPidFile=$RUN/slurmctld.pid
SlurmdPidFile=$RUN/slurmd.pid
SlurmctldLogFile=$LOGS/slurmctld.log
SlurmdLogFile=$LOGS/slurmd.log
MpiDefault=none
SwitchType=switch/none
# Without systemd there are no control groups to use.
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/linux
# A job over its memory is killed within about a second.
JobAcctGatherFrequency=task=1
JobAcctGatherParams=OverMemoryKill
# The node may have more CPUs than the machine.
SlurmdParameters=config_overrides
ReturnToService=2
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=2,bf_interval=2,batch_sched_delay=0,sched_min_interval=0
MinJobAge=300
KillWait=5
GresTypes=gpu
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort=26819
AccountingStoragePass=$MUNGE_SOCKET
AccountingStorageTRES=gres/gpu
AccountingStoreFlags=job_comment
NodeName=$NODE NodeAddr=127.0.0.1 CPUs=$LAB_CPUS RealMemory=$memory Gres=gpu:a100:2
PartitionName=cpu Nodes=$NODE Default=YES MaxTime=1440 DefaultTime=10 DefMemPerCPU=500
PartitionName=gpu Nodes=$NODE MaxTime=1440 DefaultTime=10 DefMemPerCPU=500
END
    cat >"$LAB_HOME/gres.conf" <<END
AutoDetect=off
NodeName=$NODE Name=gpu Type=a100 File=/dev/null
NodeName=$NODE Name=gpu Type=a100 File=/dev/zero
END
    printf '%s=no\n' CgroupAutomount ConstrainCores ConstrainDevices ConstrainRAMSpace \
        >"$LAB_HOME/cgroup.conf"
    (umask 077 && cat >"$LAB_HOME/slurmdbd.conf") <<END
AuthType=auth/munge
AuthInfo=socket=$MUNGE_SOCKET
DbdHost=localhost
DbdAddr=127.0.0.1
DbdPort=26819
SlurmUser=root
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort=26830
StorageUser=slurm
StoragePass=slurm
StorageLoc=slurm
PidFile=$RUN/slurmdbd.pid
LogFile=$LOGS/slurmdbd.log
END
}

link_configs() { # late: with a configuration and no controller every Slurm command waits for long
    mkdir -p /etc/slurm
    for name in $CONFIGS; do ln -sfn "$LAB_HOME/$name" "/etc/slurm/$name"; done
}

start_munge() {
    pid_of munged >/dev/null && return
    install -d -o munge -g munge -m 755 "$LAB_HOME/munge"
    [ -s "$LAB_HOME/munge/key" ] ||
        (umask 077 && head -c 1024 /dev/urandom >"$LAB_HOME/munge/key")
    chown munge:munge "$LAB_HOME/munge/key"
    rm -f "$MUNGE_SOCKET" "$MUNGE_SOCKET.lock"
    setpriv --reuid=munge --regid=munge --clear-groups munged --socket="$MUNGE_SOCKET" \
        --key-file="$LAB_HOME/munge/key" --pid-file="$LAB_HOME/munge/munged.pid" \
        --log-file="$LAB_HOME/munge/munged.log" --seed-file="$LAB_HOME/munge/seed"
    wait_for 10 test -s "$LAB_HOME/munge/munged.pid"
    cp "$LAB_HOME/munge/munged.pid" "$RUN/munged.pid"
}

sql() { mariadb --no-defaults --socket="$SQL_SOCKET" --execute="$1"; }

start_database() {
    pid_of mariadbd >/dev/null && return
    local data=$LAB_HOME/database
    [ -d "$data/mysql" ] ||
        mariadb-install-db --no-defaults --user=root --datadir="$data" --skip-test-db \
            --auth-root-authentication-method=socket &>"$LOGS/mariadb-install.log"
    # The two InnoDB values are what slurmdbd asks for, small.
    setsid mariadbd --no-defaults --user=root --datadir="$data" --socket="$SQL_SOCKET" \
        --pid-file="$RUN/mariadbd.pid" --bind-address=127.0.0.1 --port=26830 \
        --innodb-buffer-pool-size=128M --innodb-lock-wait-timeout=900 \
        --log-error="$LOGS/mariadb.log" </dev/null &>/dev/null &
    wait_for 60 sql "select 1"
    sql "create database if not exists slurm;
         create user if not exists slurm@'127.0.0.1' identified by 'slurm';
         create user if not exists slurm@localhost identified by 'slurm';
         grant all on slurm.* to slurm@'127.0.0.1'; grant all on slurm.* to slurm@localhost;"
}

start_accounting() {
    pid_of slurmdbd >/dev/null || slurmdbd
    wait_for 60 sacctmgr --noheader show cluster
    add() { sacctmgr --immediate add "$@" >/dev/null || true; } # fails if it is there already
    add cluster lab
    add account lab Description=lab Organization=lab
    add user root Account=lab
}

start_cluster() {
    pid_of slurmctld >/dev/null || slurmctld
    wait_for 30 sh -c 'scontrol ping | grep -q UP'
    pid_of slurmd >/dev/null || slurmd
    ready() { sinfo --noheader --Node --format=%T | grep -qE '^(idle|mixed|allocated)'; }
    resume() { ready || { scontrol update nodename="$NODE" state=resume; ready; }; }
    wait_for 30 resume
    timeout 60 srun --partition=gpu --gres=gpu:1 --time=1 true
    # The first job's record reaches the accounting some seconds late.
    local id
    id=$(sbatch --parsable --wait --time=1 --chdir=/tmp --output=/dev/null --wrap=true)
    wait_for 60 sh -c "sacct -X -n -j $id -o state | grep -q COMPLETED"
}

start() {
    check
    install_packages
    mkdir -p "$LAB_HOME" "$RUN" "$LOGS" "$LAB_HOME/controller" "$LAB_HOME/node"
    chmod 755 "$LAB_HOME" "$LOGS"
    chmod 1777 "$RUN" # munged is another user
    grep -qw "$NODE" /etc/hosts || echo "127.0.0.1 $NODE" >>/etc/hosts
    write_configs
    start_munge
    start_database
    link_configs
    start_accounting
    start_cluster
    echo "Slurm $(sinfo --version | cut -d' ' -f2) is up: node $NODE, $LAB_CPUS CPUs," \
        "partitions cpu and gpu, two fake GPUs"
}

stop_daemon() { # NAME
    local pid
    pid=$(pid_of "$1") || return 0
    kill "$pid" 2>/dev/null || true
    for _ in $(seq 100); do
        [ -e "/proc/$pid" ] || break
        sleep 0.1
    done
    [ ! -e "/proc/$pid" ] || kill -KILL "$pid" 2>/dev/null || true
    rm -f "$RUN/$1.pid"
    echo "stopped $1"
}

stop() {
    if pid_of slurmctld >/dev/null; then
        scancel --user=root 2>/dev/null || true
        for _ in $(seq 100); do
            [ -n "$(squeue --noheader 2>/dev/null)" ] || break
            sleep 0.1
        done
    fi
    for name in $DAEMONS; do stop_daemon "$name"; done
    for name in $CONFIGS; do
        if is_ours "/etc/slurm/$name"; then rm "/etc/slurm/$name"; fi
    done
}

status() {
    for name in $DAEMONS; do
        if pid=$(pid_of "$name"); then echo "$name: process $pid"; else echo "$name: down"; fi
    done
}

case ${1:-} in
check | start | stop | status) "$1" ;;
*) fail "usage: tests/cluster/lab.sh check|start|stop|status" ;;
esac
