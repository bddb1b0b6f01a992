# shellcheck shell=bash
# What the SLURM scripts beside this file share; they read it in with `source`. Nothing here is to be changed for a site.
#
# Each training process is a SLURM task of its own (srun), without `accelerate launch` or torchrun in between. SLURM
# sends its signals to every process of a step. A launcher among them would pass them on, and the second one ends the
# training without a checkpoint; or it would die of them and leave the training alone. And launchers turn all exit codes
# into 1, so that a training to go on with (75) looks like one with a wrong flag (2). Accelerate finds its place among
# the processes in the same variables that torchrun would set.
set -euo pipefail

# A task of an array needs both its numbers: the first alone means the whole array.
job=${SLURM_JOB_ID:?submit this script with sbatch}
[[ -z ${SLURM_ARRAY_TASK_ID-} ]] || job=${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID

say() {
    echo "$(date +'%F %T') job $job: $*"
}

# Take --name out of train.py's arguments: it is left in $name (else the first argument is), and the others in $flags.
# shellcheck disable=SC2034 # used by those who source this
take_name() {
    name=$1 flags=()
    shift
    while (($#)); do
        case $1 in
            --name) name=${2-}; shift $(($# > 1)) ;;
            --name=*) name=${1#*=} ;;
            *) flags+=("$1") ;;
        esac
        shift
    done
}

# Run a command to its end, and leave its exit code in $code. Before the time limit SLURM signals this shell alone
# (USR1), which passes it on; after a preemption or scancel it signals everybody (TERM), and this shell only waits.
run() {
    local signalled
    "$@" &
    child=$!
    trap 'signalled=yes; kill -USR1 $child 2>/dev/null || true' USR1
    trap 'signalled=yes' TERM
    while true; do
        signalled='' code=0
        wait $child || code=$?
        [[ $signalled ]] || break # what ended the wait was a signal, not the end of the command
    done
    trap - USR1 TERM
}

# Train with the given flags on every GPU of the job, or with one process a node where there are none.
train() {
    local processes=${SLURM_GPUS_ON_NODE:-0} cpus
    ((processes)) || processes=1
    cpus=$((SLURM_CPUS_ON_NODE > processes ? SLURM_CPUS_ON_NODE / processes : 1))
    # The address by which SLURM reaches this node, the first one, and a port that no other job on it is likely to use.
    MASTER_ADDR=$(sinfo --noheader --Node --nodes="$SLURMD_NODENAME" --format=%o | head -n 1)
    MASTER_PORT=$((10000 + SLURM_JOB_ID % 20000))
    export MASTER_ADDR MASTER_PORT LOCAL_WORLD_SIZE=$processes
    export OMP_NUM_THREADS=${OMP_NUM_THREADS:-$cpus} PYTHONUNBUFFERED=1
    say "start $((${SLURM_RESTART_COUNT:-0} + 1)) on $SLURM_JOB_NODELIST, processes on each: $processes"
    # One process that ends must not end the others at once: the first one writes the checkpoint while they leave. It
    # has five minutes; after that SLURM ends those that would wait for a dead one for ever.
    # shellcheck disable=SC2016 # the variables of each task, not those of this shell
    run srun --nodes="$SLURM_JOB_NUM_NODES" --ntasks=$((SLURM_JOB_NUM_NODES * processes)) \
        --ntasks-per-node="$processes" --cpus-per-task="$cpus" --gpu-bind=none --kill-on-bad-exit=0 --wait=300 \
        bash -c '
            if ((SLURM_STEP_NUM_TASKS > 1)); then
                export RANK=$SLURM_PROCID LOCAL_RANK=$SLURM_LOCALID WORLD_SIZE=$SLURM_STEP_NUM_TASKS
            fi
            exec python train.py "$@"' train.py "$@" --resume
}

# End the job with $code, back in the queue if the training was asked to stop: it has written a checkpoint (75), or was
# still starting (138, ended by USR1), which is allowed twice lest a time limit that is too short goes round for ever. As
# all else would: a wrong flag, a crash.
finish() {
    local state
    if ((code == 75 || code == 138 && ${SLURM_RESTART_COUNT:-0} < 2)); then
        # Who was cancelled is to stay so, and who was preempted is in the queue again already: both are not running.
        state=$(squeue --noheader --jobs="$job" --format=%T) || true
        if [[ $state == RUNNING || $state == SIGNALING ]]; then
            say "stopped on request: goes back to the queue"
            scontrol requeue "$job" || say "which this site does not allow: submit it again with the same --name"
        fi
    fi
    say "ended with exit code $code"
    exit "$code"
}
