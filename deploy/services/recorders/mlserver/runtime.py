"""A model for MLServer: the number of elements of its input."""

from mlserver import MLModel
from mlserver.types import InferenceRequest, InferenceResponse, ResponseOutput


class Count(MLModel):
    """Counts."""

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Return how many elements the first input has."""
        count = len(payload.inputs[0].data)
        return InferenceResponse(
            model_name=self.name, outputs=[ResponseOutput(name="count", shape=[1], datatype="INT64", data=[count])]
        )
