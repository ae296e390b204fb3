# An exported model (python -m paragon export model) as a service:
#   docker build --tag paragon .
#   docker run --publish 8000:8000 --volume "$PWD/model:/model:ro" paragon
# Python and the versions are those that are tested and audited (docs/trust.md).
FROM python:3.11-slim
WORKDIR /paragon
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY paragon paragon
COPY paragon_study paragon_study
RUN pip install --no-cache-dir --constraint constraints.txt '.[serve]'
USER nobody
EXPOSE 8000
ENTRYPOINT ["python", "-m", "paragon", "serve", "--host", "0.0.0.0"]
CMD ["/model"]
