#!/usr/bin/env bash
# Every figure of docs/explanation/benchmarks.md that needs a GPU, in one run: bash bench/card.sh PHOTOS OUT PART...
# PHOTOS: a folder of portraits. OUT: an empty folder for tables and raw CSV. PART: names of the case below.
# Environment: PYTHON (an interpreter with Face3D's requirements), FACE3D_MODEL_DIR, GIT_COMMIT (without .git).
set -uo pipefail
cd "$(dirname "$0")/.."
photos=$1 out=$2
shift 2
export PYTHONPATH=$PWD${PYTHONPATH:+:$PYTHONPATH}

# Runs `face3d bench ARGUMENTS`, with its table in OUT/<name>.txt and its raw figures in OUT/<name>.csv.
bench() {
  local name=$1
  shift
  "${PYTHON:-python3}" -c 'from cli import main; main()' bench "$@" --photos "$photos" >"$out/$name.txt" 2>"$out/$name.log"
  echo "== $name: exit code $?"
  grep -v '^$' "$out/$name.txt" || tail -n 15 "$out/$name.log"
}

for part in "$@"; do
  case $part in
    single) bench single single --device cuda -n 200 --csv "$out/single.csv" ;;
    http) bench http http --device cuda -n 200 --csv "$out/http.csv" ;;
    event) bench event-glb event --device cuda -n 100 --option formats=glb --option texture-format=jpeg --csv "$out/event-glb.csv"
           bench event-default event --device cuda -n 20 --csv "$out/event-default.csv" ;;
    throughput) bench throughput throughput --device cuda -n 200 --shape 1x4 --shape 4x3 --csv "$out/throughput.csv" ;;
    switches) bench switches switches --device cuda -n 20 ;;
    soak) bench soak soak --device cuda --rate 1 --seconds 300 --csv "$out/soak.csv" ;;
    soak-event) bench soak-event soak --device cuda --way event --rate 1 --seconds 120 --csv "$out/soak-event.csv" ;;
    hrn) bench hrn hrn --device cuda -n 5 --rounds 3 --csv "$out/hrn.csv" ;;
    scale) bench scale scale --cards "${CARDS:-1,2}" -n 200 --rounds 3 --csv "$out/scale.csv" ;;
    *) echo "unknown part $part"; exit 2 ;;
  esac
done
