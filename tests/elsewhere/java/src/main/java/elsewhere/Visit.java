package elsewhere;

import io.temporal.workflow.QueryMethod;
import io.temporal.workflow.SignalMethod;
import io.temporal.workflow.WorkflowInterface;
import io.temporal.workflow.WorkflowMethod;
import java.util.List;

/** Notes what it is told, in order, until it is told to end. */
@WorkflowInterface
public interface Visit {
  /** Someone who came; what else its event says is ignored. */
  record Visitor(String id) {}

  /** One thing to note. */
  record Note(int n) {}

  /** All that was noted by this run and those before it. */
  @WorkflowMethod(name = "Visit")
  List<Integer> stay(Visitor visitor, List<Integer> noted);

  @SignalMethod(name = "note")
  void note(Note note);

  @SignalMethod(name = "note_many")
  void noteMany(List<Note> notes);

  /** Goes on in a new run. */
  @SignalMethod(name = "turn_over")
  void turnOver();

  @SignalMethod(name = "end")
  void end();

  @QueryMethod(name = "noted")
  List<Integer> noted();
}
