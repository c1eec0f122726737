package elsewhere;

import io.temporal.workflow.Workflow;
import io.temporal.workflow.WorkflowInit;
import java.util.ArrayList;
import java.util.List;

/** See {@link Visit}. */
public final class VisitWorkflow implements Visit {
  private final List<Integer> noted;
  private boolean turnedOver;
  private boolean ended;

  /** With the input, so that a signal which comes before {@code stay} begins finds all state set. */
  @WorkflowInit
  public VisitWorkflow(Visitor visitor, List<Integer> noted) {
    this.noted = new ArrayList<>(noted);
  }

  @Override
  public List<Integer> stay(Visitor visitor, List<Integer> before) {
    Workflow.await(() -> ended || turnedOver);
    if (!ended) {
      Workflow.continueAsNew(visitor, noted);
    }
    return noted;
  }

  @Override
  public void note(Note note) {
    noted.add(note.n());
  }

  @Override
  public void noteMany(List<Note> notes) {
    notes.forEach(this::note);
  }

  @Override
  public void turnOver() {
    turnedOver = true;
  }

  @Override
  public void end() {
    ended = true;
  }

  @Override
  public List<Integer> noted() {
    return noted;
  }
}
