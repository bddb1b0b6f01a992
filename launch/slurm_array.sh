#!/usr/bin/env bash
# Train many times, each on one GPU: over seeds, which needs nobody's network, or as agents of a W&B sweep. From the
# project's folder:
#
#     sbatch --array=0-4 launch/slurm_array.sh report --data PATH               seeds 0 to 4
#     sbatch --array=1-20%4 launch/slurm_array.sh --sweep ENTITY/PROJECT/ID     20 runs of a sweep, 4 at a time
#
# Over seeds, what follows the script goes to train.py, and the run folders are runs/NAME-seed-N; NAME is slurm-JOB
# unless you give --name. A sweep is made with `wandb sweep launch/sweep.yaml`, which prints what to give here. Each task
# goes back to the queue by itself at its time limit, after a preemption or the failure of its node, and then on with
# its own run. scancel ends it for good.
#
# For your site, here or on the command line of sbatch, which wins:
##SBATCH --account=YOURS
##SBATCH --partition=GPU_PARTITION
#SBATCH --job-name=deeplense
#SBATCH --array=0-4
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=1
#SBATCH --cpus-per-task=8
# A short limit starts sooner, and costs nothing but the start of a job each time:
#SBATCH --time=04:00:00
# Log of all starts of a task, in the folder that you submit from:
#SBATCH --output=launch/logs/%x-%A_%a.out
#SBATCH --open-mode=append
# Two minutes before the limit is time for a step and a checkpoint:
#SBATCH --signal=B:USR1@120
#SBATCH --requeue

# The environment is the one that you submit from; or set it up here:
# module load python cuda
# source .venv/bin/activate

source launch/slurm.sh

if [[ ${1-} != --sweep ]]; then
    take_name "slurm-$SLURM_ARRAY_JOB_ID" "$@"
    train "${flags[@]}" --seed "$SLURM_ARRAY_TASK_ID" --name "$name-seed-$SLURM_ARRAY_TASK_ID"
    finish
fi

IFS=/ read -r WANDB_ENTITY project sweep <<<"${2-}"
if [[ -z ${sweep-} || $# -gt 2 ]]; then
    echo "error: --sweep $*: give ENTITY/PROJECT/ID as \`wandb sweep launch/sweep.yaml\` prints it, and no more" >&2
    exit 2
fi
export WANDB_ENTITY DEEPLENSE_RUN=slurm-$job # sweep.yaml takes this for the run's name
folder=runs/$DEEPLENSE_RUN
if [[ -f $folder/config.json ]]; then
    # An agent would begin another run: the one that was cut off goes on without it.
    train --config "$folder/config.json" --name "$DEEPLENSE_RUN" --wandb-project "$project"
    finish
fi
# Not by srun, which would signal the agent and the training both.
run wandb agent --forward-signals --count 1 "$WANDB_ENTITY/$project/$sweep"
# The agent's exit code says nothing of the run; its folder does.
if [[ -f $folder/summary.json ]]; then
    code=0
elif grep '"outcome"' "$folder/record.json" | tail -n 1 | grep '"Stopped'; then
    code=75
else
    code=1
fi
finish
