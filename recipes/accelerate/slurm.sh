#!/bin/bash
# Two machines with eight GPUs each, under SLURM: sbatch recipes/accelerate/slurm.sh recipes/librispeech.yaml --data_dir DIR
# Run it from the checkout. Two minutes before the time limit, or when SLURM preempts the job, training writes a checkpoint
# and exits with status 75; the job is then requeued and resumes in the middle of the epoch.
#SBATCH --job-name=hf_speech
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=64
#SBATCH --time=24:00:00
#SBATCH --requeue
#SBATCH --signal=USR1@120
set -uo pipefail
run_dir="${RUN_DIR:-runs/slurm-$SLURM_JOB_ID}"  # A requeued job keeps its id.
resume=""
[ -f "$run_dir/recipe.yaml" ] && resume="--resume"
main_process_ip=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
export main_process_ip run_dir resume
srun bash -c 'exec python -m hf_speech.training.launch --config_file recipes/accelerate/two_nodes.yaml \
  --machine_rank "$SLURM_NODEID" --main_process_ip "$main_process_ip" \
  scripts/train.py "$@" --output_dir "$run_dir" $resume' train "$@"
status=$?
[ "$status" -eq 75 ] && scontrol requeue "$SLURM_JOB_ID"
exit "$status"
