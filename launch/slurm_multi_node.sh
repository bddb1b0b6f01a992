#!/usr/bin/env bash
# Train on several nodes, on all GPUs that are asked for of each (or one process a node where there are none). From the
# project's folder, which all nodes must see:
#
#     sbatch launch/slurm_multi_node.sh --lr 1e-4 --data PATH                            2 nodes of 4 GPUs
#     sbatch --nodes=4 --gpus-per-node=8 launch/slurm_multi_node.sh --batch-size 1024    4 nodes of 8
#
# What follows the script goes to train.py: a preset, then flags. --batch-size is that of all GPUs together, and must be
# a multiple of their number. The run folder is runs/slurm-JOB unless you give --name. At its time limit, after a
# preemption or the failure of a node the job goes back to the queue by itself, and then on where it was, in the same
# run folder and the same W&B run. scancel ends it for good, with a checkpoint; submit it with the same --name and
# flags to go on, on another number of nodes if you like.
#
# For your site, here or on the command line of sbatch, which wins:
##SBATCH --account=YOURS
##SBATCH --partition=GPU_PARTITION
#SBATCH --job-name=deeplense
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=4
# CPUs of each node, shared by the processes on its GPUs:
#SBATCH --cpus-per-task=16
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

# Where the nodes do not find each other, name the network that joins them (`ip addr` lists them):
# export NCCL_SOCKET_IFNAME=ib0 GLOO_SOCKET_IFNAME=ib0

source launch/slurm.sh
take_name "slurm-$SLURM_JOB_ID" "$@"
train "${flags[@]}" --name "$name"
finish
