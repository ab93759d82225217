
# ---- nothing below holds a setting ----
export PYTHONUNBUFFERED=1
# The first node, found here because a container may lack scontrol.
MASTER_ADDR=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
export MASTER_ADDR
unset MASTER_PORT # one from the submitting shell; training derives its own from the job's id

restarts=${SLURM_RESTART_COUNT:-0}
job=$SLURM_JOB_ID
if [[ -n ${SLURM_ARRAY_TASK_ID:-} ]]; then job=${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID; fi

say() { echo "[job $job, $(date '+%F %T')] $*"; }

# leave STATUS: start again after a stop that was asked for, else end the job with STATUS.
leave() {
  local reason
  case $1 in
    0) say "done" && exit 0 ;;
    85) reason="stopped on a signal after saving (85)" ;;
    86) reason="hung, and its watchdog ended it (86)" ;;
    138) reason="got USR1 before it could save (138)" ;;
    *) say "failed with status $1; what the tasks said is above" && exit "$1" ;;
  esac
  if ((restarts >= max_restarts)); then
    say "$reason; all $max_restarts restarts (slurm.max_restarts) are used; to go on: sbatch $script"
    exit "$1"
  fi
  say "$reason; requeued, restart $((restarts + 1)) of $max_restarts"
  scontrol requeue "$job" || exit "$1"
  exit 0
}

say "start $((restarts + 1)) on $SLURM_JOB_NODELIST"
