"${srun[@]}" "${command[@]}" "$SLURM_ARRAY_TASK_ID"
leave $?
