#!/bin/bash
# Two machines with eight GPUs each, under SLURM: sbatch recipes/accelerate/slurm.sh recipes/librispeech.yaml --data_dir DIR
# Run from the checkout. What is killed at the time limit goes on with: sbatch ... --resume
#SBATCH --job-name=hf_speech
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=64
#SBATCH --time=24:00:00
set -euo pipefail
main_process_ip=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
export main_process_ip
srun bash -c 'accelerate launch --config_file recipes/accelerate/two_nodes.yaml \
  --machine_rank "$SLURM_NODEID" --main_process_ip "$main_process_ip" scripts/train.py "$@"' train "$@"
