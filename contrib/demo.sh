#!/bin/bash
# `make demo`: the main job for real. A Slurm cluster of three nodes in namespaces of this machine,
# a registry, an MPI image; alice submits, each node pulls, six ranks say where they are.
# KEEP=1 leaves the cluster up.
set -euo pipefail
cd "$(dirname "$0")/.."

id=demo
image=10.77.0.1:5000/mpich:1
say() { printf '\n\033[1m%s\033[0m\n' "$*"; }
lab() { ./lab "$1" --id "$id" "${@:2}"; }

finish() {
    status=$?
    if [ "${KEEP:-0}" != 1 ] || [ "$status" -ne 0 ]; then lab down; fi
    exit "$status"
}
trap finish EXIT

say "1. A cluster: slurmctld, three slurmd, a registry"
lab up
say "2. alice's job script"
lab run -u alice -- bash -c 'cd; cat > job.sh && chmod +x job.sh && cat job.sh' <<'JOB'
#!/bin/bash
#SBATCH --job-name=hello --output=hello.out
srun --mpi=pmi2 /opt/mpi/hello
JOB
say "3. sbatch --container=$image -N3 -n6 job.sh"
job=$(lab run -u alice -- bash -c "cd; sbatch --parsable --container=$image -N3 -n6 job.sh")
echo "job $job"
say "4. What the job prints: each node pulls the image, then every rank runs inside it"
lab run -u alice -- bash -c "
    cd
    until [ -e hello.out ]; do sleep 0.1; done
    tail -n +1 -F hello.out 2>/dev/null & follower=\$!
    deadline=\$((SECONDS + 300))
    while squeue -h -j $job 2>/dev/null | grep -q . && [ \$SECONDS -lt \$deadline ]; do sleep 0.2; done
    sleep 0.3; kill \$follower; wait \$follower 2>/dev/null || true
    scontrol show job $job | grep -E 'JobState|ExitCode|Container='
    [ \"\$(grep -c '^rank ' hello.out)\" = 6 ]
"
say "5. What rank 3 printed, from the file that its node wrote: hpcbox logs $job:3"
lab run -u alice -- bash -c "cd; hpcbox logs $job:3"
say "6. The image is on the nodes now: the same again, by srun, and over ssh without the plugin"
lab run -u alice -- bash -c "cd; time srun --container=$image --mpi=pmi2 -N3 -n6 /opt/mpi/hello"
lab run -u alice -- bash -c "cd; salloc -Q -N3 hpcbox srun --launcher=ssh --container=$image -n6 /opt/mpi/hello"
say "7. What does not exist ends with one line and 125, and the nodes stay idle"
lab run -u alice -- bash -c 'srun --container=10.77.0.1:5000/nope:1 true; echo "exit code $?"; sinfo -h'
if [ "${KEEP:-0}" = 1 ]; then
    say "The cluster is up. Next: ./lab shell --id $id -u alice   (then: srun --container=$image -N3 hostname; hpcbox)"
    echo "When you are done: ./lab down --id $id"
fi
