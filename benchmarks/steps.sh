# Steps with a time limit each, within a limit for all; sourced by the scripts beside it.
# What a step has measured when its time ends is recorded: the commands write as they go.

all_seconds=${ALL_SECONDS:-480}
patience=${PATIENCE:-1} # factor of the limits of single steps, for slow machines

step() { # step SECONDS TITLE COMMAND…
  local seconds=$(($1 * patience)) title=$2 left=$((all_seconds - SECONDS))
  shift 2
  ((seconds < left)) || seconds=$left
  if ((seconds < 5)); then
    echo "== $title: no time left"
    return
  fi
  echo "== $title: at most $seconds s of $left s"
  local began=$SECONDS
  timeout --kill-after=10 "$seconds" "$@"
  echo "== $title: code $?, $((SECONDS - began)) s" # 124: its time ended
}
