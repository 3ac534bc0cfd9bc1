-- Schema 0007. Generated: python -m lbadvisor.store.schema > db/schema.sql

CREATE TABLE lbadvisor_version (
    version_num VARCHAR(32) NOT NULL,
    CONSTRAINT lbadvisor_version_pkc PRIMARY KEY (version_num)
);

CREATE TABLE recipes (
    number INTEGER NOT NULL,
    hash TEXT NOT NULL,
    name TEXT NOT NULL,
    body TEXT NOT NULL,
    CONSTRAINT pk_recipes PRIMARY KEY (number),
    CONSTRAINT uq_recipes_hash UNIQUE (hash)
);

CREATE TABLE plans (
    number INTEGER NOT NULL,
    hash TEXT NOT NULL,
    body TEXT NOT NULL,
    baseline INTEGER NOT NULL,
    adapted INTEGER NOT NULL,
    created_at DATETIME NOT NULL,
    CONSTRAINT pk_plans PRIMARY KEY (number),
    CONSTRAINT uq_plans_hash UNIQUE (hash),
    CONSTRAINT fk_plans_baseline_recipes FOREIGN KEY(baseline) REFERENCES recipes (number),
    CONSTRAINT fk_plans_adapted_recipes FOREIGN KEY(adapted) REFERENCES recipes (number)
);

CREATE TABLE runs (
    number INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL,
    recipe INTEGER NOT NULL,
    "plan" INTEGER,
    seed INTEGER NOT NULL,
    status TEXT NOT NULL,
    ended_because TEXT,
    "update" INTEGER NOT NULL,
    updates INTEGER NOT NULL,
    device TEXT NOT NULL,
    device_name TEXT NOT NULL,
    lbadvisor_version TEXT NOT NULL,
    python_version TEXT NOT NULL,
    torch_version TEXT NOT NULL,
    git_commit TEXT,
    git_dirty BOOLEAN,
    created_at DATETIME NOT NULL,
    changed_at DATETIME NOT NULL,
    resumes INTEGER NOT NULL, guarantee TEXT, test_loss FLOAT, test_accuracy_percent FLOAT, threads INTEGER, micro_size INTEGER, ranks INTEGER, shares INTEGER,
    CONSTRAINT uq_runs_name UNIQUE (name),
    CONSTRAINT fk_runs_recipe_recipes FOREIGN KEY(recipe) REFERENCES recipes (number),
    CONSTRAINT fk_runs_plan_plans FOREIGN KEY("plan") REFERENCES plans (number)
);

CREATE TABLE ladders (
    number INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL,
    baseline INTEGER NOT NULL,
    target_batch_size INTEGER NOT NULL,
    created_at DATETIME NOT NULL,
    CONSTRAINT uq_ladders_name UNIQUE (name),
    CONSTRAINT fk_ladders_baseline_recipes FOREIGN KEY(baseline) REFERENCES recipes (number)
);

CREATE TABLE ladder_runs (
    ladder INTEGER NOT NULL,
    run INTEGER NOT NULL,
    arm TEXT NOT NULL,
    CONSTRAINT pk_ladder_runs PRIMARY KEY (ladder, run),
    CONSTRAINT fk_ladder_runs_ladder_ladders FOREIGN KEY(ladder) REFERENCES ladders (number) ON DELETE CASCADE,
    CONSTRAINT fk_ladder_runs_run_runs FOREIGN KEY(run) REFERENCES runs (number) ON DELETE CASCADE
)
 WITHOUT ROWID;

CREATE TABLE readings (
    run INTEGER NOT NULL,
    quantity TEXT NOT NULL,
    part TEXT NOT NULL,
    "update" INTEGER NOT NULL,
    value FLOAT,
    CONSTRAINT pk_readings PRIMARY KEY (run, quantity, part, "update"),
    CONSTRAINT fk_readings_run_runs FOREIGN KEY(run) REFERENCES runs (number) ON DELETE CASCADE
)
 WITHOUT ROWID;

CREATE TABLE measurements (
    run INTEGER NOT NULL,
    "update" INTEGER NOT NULL,
    epoch FLOAT,
    examples INTEGER NOT NULL,
    loss FLOAT,
    lr FLOAT,
    gradient_norm FLOAT,
    clipped_share FLOAT,
    weight_distance FLOAT,
    evaluation_loss FLOAT,
    evaluation_accuracy_percent FLOAT,
    seconds FLOAT,
    CONSTRAINT pk_measurements PRIMARY KEY (run, "update"),
    CONSTRAINT fk_measurements_run_runs FOREIGN KEY(run) REFERENCES runs (number) ON DELETE CASCADE
)
 WITHOUT ROWID;

CREATE VIEW run_summaries AS
SELECT runs.number, runs.name,
       coalesce(json_extract(recipes.body, '$.adapted_from.recipe'), recipes.name) AS recipe,
       json_extract(recipes.body, '$.batch.size') AS batch_size,
       json_extract(recipes.body, '$.optimizer.lr') AS lr,
       json_extract(recipes.body, '$.batch_norm.ghost_batch_size') AS ghost_batch_size,
       json_extract(recipes.body, '$.adapted_from.parts') AS adapted_parts,
       runs.seed, runs.status, runs."update", runs.updates,
       (SELECT evaluation_accuracy_percent FROM measurements
        WHERE run = runs.number AND evaluation_accuracy_percent IS NOT NULL ORDER BY "update" DESC LIMIT 1)
       AS final_accuracy_percent,
       (SELECT max(evaluation_accuracy_percent) FROM measurements WHERE run = runs.number)
       AS best_accuracy_percent,
       (SELECT max(seconds) FROM measurements WHERE run = runs.number) AS seconds,
       runs.test_accuracy_percent
FROM runs JOIN recipes ON recipes.number = runs.recipe;

CREATE VIEW curves AS
SELECT runs.name, runs.seed, measurements.*
FROM measurements JOIN runs ON runs.number = measurements.run;

CREATE VIEW reading_curves AS
SELECT runs.name, runs.seed, readings.*
FROM readings JOIN runs ON runs.number = readings.run;

CREATE VIEW ladder_results AS
SELECT ladders.name AS ladder, ladder_runs.arm, run_summaries.*
FROM ladder_runs JOIN ladders ON ladders.number = ladder_runs.ladder
JOIN run_summaries ON run_summaries.number = ladder_runs.run;
