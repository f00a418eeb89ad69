/* deep_hierarchy: tasks in sections in a project, built here and changed there. */
#include "example.h"

/* listing */
static const rapyer_model ProjectTask = RAPYER_ATOMIC(
    "ProjectTask", RAPYER_FIELD("title", "str"), RAPYER_FIELD("status", "str", "pending"),
    RAPYER_FIELD("tags", "list<str>"), RAPYER_FIELD("metadata", "dict<str>"));

static const rapyer_model ProjectSection = RAPYER_ATOMIC(
    "ProjectSection", RAPYER_FIELD("name", "str"), RAPYER_FIELD("description", "str", "''"),
    RAPYER_FIELD("tasks", "list<ProjectTask>"), RAPYER_FIELD("section_tags", "list<str>"));

static const rapyer_model Project = RAPYER_ATOMIC(
    "Project", RAPYER_FIELD("name", "str"), RAPYER_FIELD("description", "str"),
    RAPYER_FIELD("sections", "list<ProjectSection>"), RAPYER_FIELD("collaborators", "list<str>"),
    RAPYER_FIELD("project_metadata", "dict<str>"));

int main(void)
{
    rapyer_auto *db = rapyer_connect(NULL);
    rapyer_define(db, &ProjectTask, &ProjectSection, &Project);

    /* Create complex nested structure */
    rapyer_auto_doc *project = rapyer_new(
        db, "Project",
        "{name: 'Website Redesign', description: 'Complete overhaul of company website'}");
    rapyer_save(project);

    /* Add a section with tasks */
    rapyer_auto_doc *frontend_section =
        rapyer_new(db, "ProjectSection",
                   "{name: 'Frontend Development', description: 'UI/UX implementation'}");

    /* Add tasks to the section */
    rapyer_auto_doc *task1 = rapyer_new(db, "ProjectTask", "{title: 'Create wireframes'}");
    rapyer_auto_doc *task2 =
        rapyer_new(db, "ProjectTask", "{title: 'Implement responsive design'}");
    rapyer_extend(frontend_section, "tasks", "[%p, %p]", task1, task2);
    rapyer_append(project, "sections", "%p", frontend_section);

    /* Work with deeply nested data */
    rapyer_append(project, "sections[0].tasks[0].tags", "'high-priority'");
    rapyer_update(project, "sections[0].tasks[0].metadata",
                  "{assigned_to: 'designer@company.com', due_date: '2024-02-15'}");
    /* end of the listing */

    /* The drafts live in the document now, and their handles know where. */
    rapyer_set(task2, "status", "done");

    const char *pk = rapyer_pk(project), *section = rapyer_pk(frontend_section);
    REDIS_IS("Website Redesign", "HGET rapyer:{Project:%s} name", pk);
    REDIS_HAS(section, "LRANGE rapyer:{Project:%s}/sections 0 -1", pk);
    REDIS_IS("Frontend Development", "HGET rapyer:{Project:%s}/sections/%s name", pk, section);
    REDIS_IS("2", "LLEN rapyer:{Project:%s}/sections/%s/tasks", pk, section);
    REDIS_IS("[high-priority]", "LRANGE rapyer:{Project:%s}/sections/%s/tasks/%s/tags 0 -1", pk,
             section, rapyer_pk(task1));
    REDIS_IS("2024-02-15", "HGET rapyer:{Project:%s}/sections/%s/tasks/%s/metadata due_date", pk,
             section, rapyer_pk(task1));
    REDIS_IS("[Implement responsive design, done]",
             "HMGET rapyer:{Project:%s}/sections/%s/tasks/%s title status", pk, section,
             rapyer_pk(task2));
    return example_end(db);
}
