"""One process or many: strategies, DeepSpeed, and the processes of one machine."""
