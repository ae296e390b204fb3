# An exported model (python -m paragon export model) as a service:
#   docker build --tag paragon .
#   docker run --publish 8000:8000 --volume "$PWD/model:/model:ro" paragon
FROM python:3.12-slim
WORKDIR /paragon
COPY pyproject.toml README.md LICENSE ./
COPY paragon paragon
COPY paragon_study paragon_study
RUN pip install --no-cache-dir '.[serve]'
USER nobody
EXPOSE 8000
ENTRYPOINT ["python", "-m", "paragon", "serve", "--host", "0.0.0.0"]
CMD ["/model"]
