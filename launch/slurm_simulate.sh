#!/usr/bin/env bash
# Simulate a set on many nodes: each task of an array makes its share, and the last one to end joins them. From the
# project's folder:
#
#     sbatch --array=1-16 launch/slurm_simulate.sh hst_subhalo --count 500000 --out /scratch/hst_subhalo
#
# What follows the script goes to `python -m deeplense.simulation`; leave --part and --join out. The images are those of
# one command without an array. A task that is cut off goes back to the queue, and goes on with its own share. If not
# all tasks end well, give the same again with the numbers of those that did not (`--array=3,7`, and the number of
# shares by SHARES=16), or join by hand: `python -m deeplense.simulation hst_subhalo --out /scratch/hst_subhalo --join`.
#
# For your site, here or on the command line of sbatch, which wins:
##SBATCH --account=YOURS
##SBATCH --partition=GPU_PARTITION
#SBATCH --job-name=deeplense-simulate
#SBATCH --array=1-16
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=1
#SBATCH --cpus-per-task=4
#SBATCH --time=04:00:00
#SBATCH --output=launch/logs/%x-%A_%a.out
#SBATCH --open-mode=append
#SBATCH --requeue

# The environment is the one that you submit from; or set it up here:
# module load python cuda
# source .venv/bin/activate

set -euo pipefail

: "${SLURM_ARRAY_TASK_ID:?submit this script with sbatch --array=1-N}"
shares=${SHARES:-$SLURM_ARRAY_TASK_COUNT}
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-${SLURM_CPUS_PER_TASK:-1}} PYTHONUNBUFFERED=1

python -m deeplense.simulation "$@" --part "$SLURM_ARRAY_TASK_ID/$shares"
# Whoever ends last finds all shares there. The others are told which are not, and that is no failure of theirs.
python -m deeplense.simulation "$@" --join || echo "not joined yet: the tasks that end later will do it"
