"""Run everything downstream of changed stages, some at a time, by the commands of dvc.lock.

usage: land.py JOBS [--done STAGE ...] -- STAGE ...   (run `dvc repro -q -s check@embedded` before, `dvc commit -q -f` after)
Stages named after -- and all that follow from them run, but not those after --done. A finished stage is noted in .land.
"""
import subprocess, sys, time, os
from concurrent.futures import ThreadPoolExecutor, wait, FIRST_COMPLETED
import yaml
jobs = int(sys.argv[1]); rest = sys.argv[2:]
at = rest.index('--'); done_before = set(rest[1:at]) if rest[:1] == ['--done'] else set(); start = rest[at + 1:]
stages = yaml.safe_load(open('dvc.lock'))['stages']
paths = lambda items: [item['path'] for item in items or ()]
made = {p: s for s, e in stages.items() for p in paths(e.get('outs'))}
def needs(name):
    found = set()
    for path in paths(stages[name].get('deps')):
        for out, maker in made.items():
            if path == out or path.startswith(out + '/') or out.startswith(path + '/'):
                found.add(maker)
    return found - {name}
parents = {s: needs(s) for s in stages}
changed = set(start)
grown = True
while grown:
    grown = False
    for s, p in parents.items():
        if s not in changed and p & changed and not s.startswith('check@'):
            changed.add(s); grown = True
finished = set(done_before)
if os.path.exists('.land'): finished |= set(open('.land').read().split())
todo = [s for s in stages if s in changed - finished]
print(len(changed), 'stages', len(todo), 'to run', flush=True)
if '--dry' in sys.argv or jobs == 0: print('\n'.join(todo)); sys.exit()
os.environ.setdefault('LOKY_MAX_CPU_COUNT', '1'); os.environ.setdefault('OMP_NUM_THREADS', '1')
sys.path.insert(0, os.getcwd())
import importlib
import harness.__main__ as cli
for stage in {s.split('@')[0] for s in todo}:
    command = cli.STAGES.get(stage.removesuffix('_ft').removesuffix('_deeper').removesuffix('_by_block').removesuffix('_end_to_end'))
    if command: importlib.import_module(command.module)
def run(name):
    begin = time.time()
    argv = stages[name]['cmd'].split()
    assert argv[:3] == ['python', '-m', 'harness'], argv
    pid = os.fork()
    if pid == 0:
        log = os.open(f'/tmp/land_logs/{name}.log', os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(log, 1); os.dup2(log, 2)
        sys.argv = argv[2:]
        code = 1
        try:
            code = cli.main(argv[3:]) or 0
        except SystemExit as e:
            code = e.code if isinstance(e.code, int) else 1
        except BaseException:
            import traceback; traceback.print_exc()
        finally:
            sys.stdout.flush(); sys.stderr.flush(); os._exit(code)
    return name, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), time.time() - begin
os.makedirs('/tmp/land_logs', exist_ok=True)
running = {}
with ThreadPoolExecutor(jobs) as pool:
    failed = False
    while todo or running:
        for s in list(todo):
            if failed or len(running) >= jobs: break
            if not (parents[s] & changed) - finished:
                todo.remove(s); running[pool.submit(run, s)] = s
        if not running: break
        for f in wait(running, return_when=FIRST_COMPLETED)[0]:
            name, code, took = f.result(); del running[f]
            print(f'{name} {code} {took:.0f}s, {len(todo)} left', flush=True)
            if code: failed = True
            else: finished.add(name); open('.land', 'a').write(name + '\n')
print('stopped with', todo if todo else 'nothing left', flush=True)
