#!/bin/bash
# For slurm.conf's HealthCheckProgram: drains a node on which a container job could not start.
set -u
problem=
plugstack=${1:-/etc/slurm/plugstack.conf}
settings=$(sed -n 's/^required .*hpcbox\.so.* settings=\([^ ]*\).*/\1/p' "$plugstack" 2>/dev/null)
python=$(sed -n 's/^required .*hpcbox\.so.* python=\([^ ]*\).*/\1/p' "$plugstack" 2>/dev/null)
if [ -z "$settings" ]; then
    problem="plugstack.conf has no required hpcbox.so"
elif ! "$python" -I -c 'import hpcbox' 2>/dev/null; then
    problem="$python has no hpcbox"
elif [ ! -r "$settings" ]; then
    problem="$settings is missing"
fi
[ -z "$problem" ] || scontrol update "nodename=$(hostname -s)" state=drain "reason=hpcbox: $problem"
