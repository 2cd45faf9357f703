import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import software.amazon.event.ruler.Machine;

/**
 * event-ruler on the rules and the events of `make bench-matching`, which starts it. Arguments: a file with a rule in each line
 * ({"name": ..., "when": ...}), a file with an event in each line, how many rounds, and the milliseconds of each. Prints a line
 * when the machine is built (milliseconds), one with the matches of all events, one with how many it takes without their last
 * character, and one for each round (events a second).
 */
public final class Ruler {
  public static void main(String[] arguments) throws Exception {
    List<String> rules = Files.readAllLines(Path.of(arguments[0]));
    List<String> events = Files.readAllLines(Path.of(arguments[1]));
    int rounds = Integer.parseInt(arguments[2]);
    long nanoseconds = Long.parseLong(arguments[3]) * 1_000_000;

    ObjectMapper mapper = new ObjectMapper();
    Machine machine = Machine.builder().build();
    long began = System.nanoTime();
    for (String line : rules) {
      JsonNode rule = mapper.readTree(line);
      machine.addRule(rule.get("name").asText(), rule.get("when").toString());
    }
    System.out.println("built " + (System.nanoTime() - began) / 1_000_000);

    long matches = 0;
    for (String event : events) {
      matches += machine.rulesForJSONEvent(event).size();
    }
    System.out.println("matches " + matches);

    int unfinished = 0;
    for (String event : events) {
      try {
        machine.rulesForJSONEvent(event.substring(0, event.length() - 1));
        unfinished++;
      } catch (Exception refused) {
        // As it should be.
      }
    }
    System.out.println("unfinished " + unfinished);

    // The first round warms up.
    for (int round = 0; round <= rounds; round++) {
      long read = 0;
      long start = System.nanoTime();
      long now = start;
      while (now - start < nanoseconds) {
        for (String event : events) {
          machine.rulesForJSONEvent(event);
        }
        read += events.size();
        now = System.nanoTime();
      }
      if (round > 0) {
        System.out.println("rate " + read * 1_000_000_000L / (now - start));
      }
    }
  }
}
