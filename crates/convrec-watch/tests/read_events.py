"""Prints what TensorBoard reads from a folder of event files, as JSON."""

import json
import sys

from tensorboard.backend.event_processing.event_accumulator import TENSORS, EventAccumulator
from tensorboard.util import tensor_util

events = EventAccumulator(sys.argv[1], size_guidance={TENSORS: 0})
events.Reload()
found = {"scalars": {}, "texts": {}}
for tag in events.Tags()["scalars"]:
    found["scalars"][tag] = [[e.step, e.value if e.value == e.value else "nan"] for e in events.Scalars(tag)]
for tag in events.Tags()["tensors"]:
    values = [(e.step, tensor_util.make_ndarray(e.tensor_proto)) for e in events.Tensors(tag)]
    if events.SummaryMetadata(tag).plugin_data.plugin_name == "scalars":
        found["scalars"][tag] = [[s, float(v) if v == v else "nan"] for s, v in values]
    else:
        found["texts"][tag] = [[s, v.ravel()[0].decode()] for s, v in values]
print(json.dumps(found))
