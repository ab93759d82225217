"${srun[@]}" "${command[@]}"
leave $?
