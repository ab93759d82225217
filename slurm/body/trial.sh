trial=("${command[@]}" "$SLURM_ARRAY_TASK_ID")
"${srun_one[@]}" "${trial[@]}" begin || leave $?
"${srun[@]}" "${trial[@]}" run "${resources[@]}"
"${srun_one[@]}" "${trial[@]}" end $? # records the status, and passes it on
leave $?
