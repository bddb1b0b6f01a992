#!/usr/bin/env bash
# Train on one node: on 1 to 8 GPUs, or on the CPU where no GPU is asked for. From the project's folder:
#
#     sbatch launch/slurm_single_node.sh --lr 1e-4 --data PATH              one GPU
#     sbatch --gpus-per-node=4 launch/slurm_single_node.sh --data PATH      four
#     sbatch --gpus-per-node=0 launch/slurm_single_node.sh quickstart       none
#
# What follows the script goes to train.py: a preset, then flags. The run folder is runs/slurm-JOB unless you give
# --name. At its time limit, after a preemption or the failure of a node the job goes back to the queue by itself, and
# then on where it was, in the same run folder and the same W&B run. scancel ends it for good, with a checkpoint;
# submit it with the same --name and flags to go on.
#
# For your site, here or on the command line of sbatch, which wins:
##SBATCH --account=YOURS
##SBATCH --partition=GPU_PARTITION
#SBATCH --job-name=deeplense
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=1
# CPUs of the node, shared by the processes on its GPUs:
#SBATCH --cpus-per-task=8
# A short limit starts sooner, and costs nothing but the start of a job each time:
#SBATCH --time=04:00:00
# Log of all starts, in the folder that you submit from:
#SBATCH --output=launch/logs/%x-%j.out
#SBATCH --open-mode=append
# Two minutes before the limit is time for a step and a checkpoint:
#SBATCH --signal=B:USR1@120
#SBATCH --requeue

# The environment is the one that you submit from; or set it up here:
# module load python cuda
# source .venv/bin/activate

source launch/slurm.sh
take_name "slurm-$SLURM_JOB_ID" "$@"
train "${flags[@]}" --name "$name"
finish
