import sys; sys.path.insert(0,'/tmp/det')
from pathlib import Path
import numpy as np
from safetensors.numpy import load_file
ST=("ap", "ap50", "ap75", "small", "medium", "large")
for p in sorted(Path('/tmp/det/artifacts/embedded/detect').glob('*/*.safetensors')):
    a=load_file(p); print(p.parent.name,p.stem, {s:(100*a['ap'][:,i,0]).round(1).tolist() for i,s in enumerate(ST)}, a['loss'][-1])
