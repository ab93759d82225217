"""One metric a file; ``conf/metric/NAME.yaml`` puts it into the report."""
